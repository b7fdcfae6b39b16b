//! Bounds that more than one room relies on. They check one another at compile time.

/// Lines of one order.
pub const ORDER_LINES_MAX: usize = 1_000;
/// Units of one SKU on one line.
pub const LINE_QUANTITY_MAX: u32 = 1_000_000;
/// Bytes of a free-text field (description, name, address line, reason).
pub const TEXT_BYTES_MAX: usize = 256;
/// Bytes of an id field (SKU, customer, request id, document).
pub const ID_BYTES_MAX: usize = 64;
/// Bytes of one gRPC message at the edge.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Bytes of one message between nodes.
pub const PEER_MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Bytes that all streams of an HTTP/2 connection may hold unread, of which hyper gives one stream
/// 1 MiB (a server) or 2 MiB (a client): what some leave unread must not stop the others.
pub const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
/// Bytes of one command in a replicated log.
pub const COMMAND_BYTES_MAX: usize = 2 << 20;
/// Bytes of the commands in one Raft entry.
pub const ENTRY_BYTES_MAX: usize = 4 << 20;
/// Commands in one Raft entry.
pub const ENTRY_COMMANDS_MAX: usize = 8_192;
/// Entries of one page of a listing.
pub const PAGE_SIZE_MAX: u32 = 1_000;
/// Entries of a page when the caller does not say.
pub const PAGE_SIZE_DEFAULT: u32 = 50;
/// How long a request id is remembered: AIP-155, Stripe keeps 24 h.
pub const DEDUP_WINDOW_MS: u64 = 24 * 60 * 60 * 1_000;
/// The longest that a server works for one call, whatever the caller allows.
pub const CALL_DEADLINE_MS_MAX: u64 = 60_000;

// An order at its limits must fit a command, a command an entry, an entry a peer message.
const _: () = assert!(ORDER_LINES_MAX * (TEXT_BYTES_MAX + 2 * ID_BYTES_MAX) <= MESSAGE_BYTES_MAX);
const _: () = assert!(MESSAGE_BYTES_MAX < COMMAND_BYTES_MAX);
const _: () = assert!(COMMAND_BYTES_MAX < ENTRY_BYTES_MAX);
const _: () = assert!(ENTRY_BYTES_MAX < PEER_MESSAGE_BYTES_MAX);
