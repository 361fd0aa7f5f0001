//! Reading fields out of foreign JSON without trusting its shape.
//!
//! The rule: a field of the wrong type is the same as a missing one.

use serde_json::Value;

/// A whole number at a JSON pointer; numbers too large are clamped.
pub(crate) fn u32_at(value: &Value, pointer: &str) -> Option<u32> {
    u64_at(value, pointer).map(|n| u32::try_from(n).unwrap_or(u32::MAX))
}

/// A whole number at a JSON pointer. Some servers write `4096.0`.
pub(crate) fn u64_at(value: &Value, pointer: &str) -> Option<u64> {
    let number = value.pointer(pointer)?;
    number.as_u64().or_else(|| {
        let float = number.as_f64().filter(|f| f.is_finite() && *f >= 0.0)?;
        // A float-to-integer cast saturates, it does not wrap.
        Some(float as u64)
    })
}

/// A non-empty text at a JSON pointer, shortened to what an id or a name may be.
pub(crate) fn text_at(value: &Value, pointer: &str) -> Option<String> {
    let text = value.pointer(pointer)?.as_str()?;
    (!text.is_empty() && text.len() <= NAME_BYTES_MAX).then(|| text.to_owned())
}

/// The array at a JSON pointer, or nothing.
pub(crate) fn array_at<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Model ids are paths at worst; anything longer is not a name.
const NAME_BYTES_MAX: usize = 512;
