//! The Protobuf wire format, as far as finding fields and skipping them needs it.
//!
//! # Source
//! <https://protobuf.dev/programming-guides/encoding>

pub struct Field<'a> {
    pub tag: u32,
    pub value: Value<'a>,
}

pub enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Fixed 32 or 64 bits, skipped.
    Fixed,
}

/// The bytes are not a Protobuf message.
#[derive(Debug)]
pub struct Malformed;

/// The next field, `None` at the end; `input` moves past it.
pub fn next<'a>(input: &mut &'a [u8]) -> Result<Option<Field<'a>>, Malformed> {
    if input.is_empty() {
        return Ok(None);
    }
    let key = varint(input)?;
    let tag = u32::try_from(key >> 3).map_err(|_| Malformed)?;
    if tag == 0 {
        return Err(Malformed);
    }
    let value = match key & 7 {
        0 => Value::Varint(varint(input)?),
        1 => take(input, 8).map(|_| Value::Fixed)?,
        2 => {
            let len = usize::try_from(varint(input)?).map_err(|_| Malformed)?;
            Value::Bytes(take(input, len)?)
        }
        5 => take(input, 4).map(|_| Value::Fixed)?,
        // Groups (3, 4) are no part of proto3.
        _ => return Err(Malformed),
    };
    Ok(Some(Field { tag, value }))
}

fn take<'a>(input: &mut &'a [u8], len: usize) -> Result<&'a [u8], Malformed> {
    let (taken, rest) = input.split_at_checked(len).ok_or(Malformed)?;
    *input = rest;
    Ok(taken)
}

fn varint(input: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take(input, 1)?[0];
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(Malformed);
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed)
}
