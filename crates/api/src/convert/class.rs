//! Data classes on the wire.

use crate::classes::DataClass;
use crate::pb::hansa::options::v1::DataClass as Wire;
use crate::status::{Failure, Reason};

impl From<DataClass> for Wire {
    fn from(class: DataClass) -> Self {
        match class {
            DataClass::Operational => Self::Operational,
            DataClass::Personal => Self::Personal,
            DataClass::Financial => Self::Financial,
        }
    }
}

/// The class in a field of a request.
///
/// # Errors
/// `FIELD_INVALID` for none, or one that this release does not know.
pub fn class_of(field: &'static str, wire: i32) -> Result<DataClass, Failure> {
    match Wire::try_from(wire) {
        Ok(Wire::Operational) => Ok(DataClass::Operational),
        Ok(Wire::Personal) => Ok(DataClass::Personal),
        Ok(Wire::Financial) => Ok(DataClass::Financial),
        Ok(Wire::Unspecified) | Err(_) => {
            let what = "PERSONAL, FINANCIAL or OPERATIONAL";
            Err(Failure::field(Reason::FieldInvalid, field, what))
        }
    }
}
