//! Every reason for which a call can fail. Names are stable: clients and runbooks match on them.

use std::fmt;
use std::str::FromStr;

/// What sort of failure it is; one gRPC code each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Cancelled,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    Unimplemented,
    Internal,
    Unavailable,
}

macro_rules! reasons {
    ($($variant:ident $name:literal $kind:ident $meaning:literal;)*) => {
        /// A stable, closed set of reasons; `ErrorInfo.reason` carries the name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $(#[doc = $meaning] $variant,)*
        }

        impl Reason {
            /// The catalogue, in the order of its documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            pub fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)* }
            }

            /// One sentence for the caller's developer.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }

        impl FromStr for Reason {
            type Err = UnknownReason;
            fn from_str(name: &str) -> Result<Self, UnknownReason> {
                match name { $($name => Ok(Self::$variant),)* _ => Err(UnknownReason) }
            }
        }
    };
}

/// A name that is not in the catalogue of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownReason;

reasons! {
    // What is wrong with the request itself.
    FieldInvalid "FIELD_INVALID" InvalidArgument "a field does not have the form it must have";
    FieldEmpty "FIELD_EMPTY" InvalidArgument "a required field is empty";
    FieldTooLong "FIELD_TOO_LONG" InvalidArgument "a field is longer than allowed";
    QuantityInvalid "QUANTITY_INVALID" InvalidArgument
        "a quantity is zero, negative or over the limit";
    LineCountInvalid "LINE_COUNT_INVALID" InvalidArgument
        "an order has no line, or more than allowed";
    LineInvalid "LINE_INVALID" InvalidArgument "a line contradicts itself, or names a line twice";
    MoneyInvalid "MONEY_INVALID" InvalidArgument
        "an amount has mixed signs, too many decimals, or does not fit";
    CurrencyUnknown "CURRENCY_UNKNOWN" InvalidArgument "a currency code is not in ISO 4217";
    CurrencyMixed "CURRENCY_MIXED" InvalidArgument
        "amounts of one request are in different currencies";
    CountryUnknown "COUNTRY_UNKNOWN" InvalidArgument "a country code is not in ISO 3166-1 alpha-2";
    RequestIdMissing "REQUEST_ID_MISSING" InvalidArgument
        "a call that changes something needs a request_id";
    RequestIdReused "REQUEST_ID_REUSED" InvalidArgument
        "this request_id was used for another request";
    PanRefused "PAN_REFUSED" InvalidArgument "a field holds what looks like a payment card number";
    PolicyRefused "POLICY_REFUSED" InvalidArgument
        "the residency policy cannot be satisfied; each problem names its rule";
    OrderNameInvalid "ORDER_NAME_INVALID" InvalidArgument
        "an order is named regions/<region>/orders/<uuid>";
    PageTokenInvalid "PAGE_TOKEN_INVALID" InvalidArgument
        "the page token is not one of this query's";
    PageSizeInvalid "PAGE_SIZE_INVALID" InvalidArgument "the page size is negative";
    CursorInvalid "CURSOR_INVALID" InvalidArgument "the cursor is not one of this order's";
    MessageMalformed "MESSAGE_MALFORMED" InvalidArgument
        "the message is not valid Protobuf, or not valid UTF-8";
    DeadlineMalformed "DEADLINE_MALFORMED" InvalidArgument "the grpc-timeout header cannot be read";

    // What does not exist.
    NotFound "NOT_FOUND" NotFound "there is no such thing";
    OrderNotFound "ORDER_NOT_FOUND" NotFound
        "there is no such order, or this copy does not have it yet";
    PaymentNotFound "PAYMENT_NOT_FOUND" NotFound "the order has no payment";
    CustomerNotFound "CUSTOMER_NOT_FOUND" NotFound
        "this region has no order of the customer, or of nobody by that name";
    AccountNotFound "ACCOUNT_NOT_FOUND" NotFound "there is no such account";
    UnknownSku "UNKNOWN_SKU" NotFound "the region has never had stock of this SKU";
    UnknownRegion "UNKNOWN_REGION" NotFound "there is no such region";

    // What the present state does not allow.
    FailedPrecondition "FAILED_PRECONDITION" FailedPrecondition
        "the present state does not allow this";
    RequestInDoubt "REQUEST_IN_DOUBT" FailedPrecondition
        "who may have heard this request was lost, or came back from a backup, and nobody can say \
         whether it was carried out; look for its effect, then send what is missing under a new \
         request_id";
    NotCancellable "NOT_CANCELLABLE" FailedPrecondition
        "the order has shipped or is closed; use a return";
    NotReturnable "NOT_RETURNABLE" FailedPrecondition "more would be returned than was shipped";
    NotRefundable "NOT_REFUNDABLE" FailedPrecondition "more would be refunded than was captured";
    NotShippable "NOT_SHIPPABLE" FailedPrecondition
        "more would be shipped than is committed to the order";
    StockTooLow "STOCK_TOO_LOW" FailedPrecondition "the stock would fall below what is held";
    CountDiffers "COUNT_DIFFERS" FailedPrecondition "the counted quantity is not the expected one";
    WrongRegion "WRONG_REGION" FailedPrecondition
        "another region is the home; ask it at the endpoint given";
    NoLawfulRegion "NO_LAWFUL_REGION" FailedPrecondition
        "no region of ours may hold this customer's data by the law he lives under, or the one \
         that serves now may not: he is refused (until his home is back), never moved";
    EpochEnded "EPOCH_ENDED" FailedPrecondition
        "another region owns this since a newer epoch";
    OwnershipRefused "OWNERSHIP_REFUSED" FailedPrecondition
        "the owner cannot be changed so now; the message says what is missing";
    LeaseLost "LEASE_LOST" Unavailable
        "the region is cut off from most others and takes no writes until it is not; ask again";
    MembershipRefused "MEMBERSHIP_REFUSED" FailedPrecondition
        "the nodes of the region or the members of a group cannot be changed so now";
    PolicyNotNewer "POLICY_NOT_NEWER" FailedPrecondition
        "a residency policy of this version or a newer one is loaded; a change takes a greater one";
    VersionNotSupported "VERSION_NOT_SUPPORTED" FailedPrecondition
        "a member of the group does not apply this version; upgrade every node first";
    CustomerErased "CUSTOMER_ERASED" FailedPrecondition
        "the order was erased since this request was first made, so a repeat cannot be compared; \
         look at the order, then send what is new under a new request_id";
    CustomerMoved "CUSTOMER_MOVED" FailedPrecondition
        "the request was carried out: its order is named in the details; its customer has moved \
         since, and what a repeat is compared with was deleted; do not send it anew";
    CustomerHasOpenOrders "CUSTOMER_HAS_OPEN_ORDERS" FailedPrecondition
        "an order of the customer is under way; erase after it is completed, cancelled or rejected";
    VaultUnavailable "VAULT_UNAVAILABLE" Unavailable
        "the region's vault does not answer, or lacks the key in use; nothing was changed";
    RequestInProgress "REQUEST_IN_PROGRESS" Aborted "the same request is still running; ask again";
    HomeMoving "HOME_MOVING" Aborted "the customer's home is being moved; ask again";
    Cancelled "CANCELLED" Cancelled "the caller went away";

    // Who may not.
    Unauthenticated "UNAUTHENTICATED" Unauthenticated "no acceptable client certificate was shown";
    PermissionDenied "PERMISSION_DENIED" PermissionDenied
        "the caller's roles do not allow this call";
    ForwardRefused "FORWARD_REFUSED" PermissionDenied "a forwarded call is never forwarded again";

    // What there is too much of, or too little time for.
    RateLimited "RATE_LIMITED" ResourceExhausted "the caller has used up its rate";
    Overloaded "OVERLOADED" ResourceExhausted "more work waits here than can be done in time";
    DiskFull "DISK_FULL" ResourceExhausted
        "too few nodes of the region have room on their disks; come back when there is";
    MessageTooLarge "MESSAGE_TOO_LARGE" ResourceExhausted "the message is larger than allowed";
    DeadlineExceeded "DEADLINE_EXCEEDED" DeadlineExceeded
        "the deadline passed; the call may still take effect";

    // What is out of order on our side.
    NotLeader "NOT_LEADER" Unavailable "another node leads the group";
    GroupStopped "GROUP_STOPPED" Unavailable
        "this node's replica of the group serves no more: the node stops, or it met damage and is \
         rebuilt by `hansactl node reseed`; other nodes serve the group";
    ViewBehind "VIEW_BEHIND" Unavailable "the listing has not caught up in time; ask again";
    Restoring "RESTORING" Unavailable
        "the region came back from a backup and settles what was under way; ask again";
    HomeUnreachable "HOME_UNREACHABLE" Unavailable "the home region cannot be reached now";
    Unavailable "UNAVAILABLE" Unavailable
        "the service cannot be reached, or is starting or stopping";
    Unimplemented "UNIMPLEMENTED" Unimplemented "there is no such method here";
    Internal "INTERNAL" Internal "something is broken on our side; it has been logged";
}

impl Reason {
    /// The catalogue as a Markdown table, for `docs/`.
    pub fn catalogue() -> String {
        let rows = Self::ALL
            .iter()
            .map(|reason| format!("| `{reason}` | `{}` | {} |\n", reason.kind(), reason.meaning()));
        let head = "| reason | gRPC code | meaning |\n|---|---|---|\n";
        std::iter::once(head.to_owned()).chain(rows).collect()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cancelled => "CANCELLED",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
        })
    }
}
