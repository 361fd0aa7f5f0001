//! Money and tokens as integers with units. Arithmetic is checked: an overflow is an error, never a wrap or a float.

use core::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::limits::{AMOUNT_MSAT_MAX, PRICE_MSAT_PER_MTOK_MAX, TOKENS_MAX};

macro_rules! bounded_integer {
    ($(#[$doc:meta])* $name:ident, $max:expr, $unit:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// Zero.
            pub const ZERO: Self = Self(0);
            /// The largest value that this type holds.
            pub const MAX: Self = Self($max);

            /// The value, when it is within the limit.
            #[must_use]
            pub const fn new(value: u64) -> Option<Self> {
                if value > $max { None } else { Some(Self(value)) }
            }

            /// The value, cut off at the limit.
            #[must_use]
            pub const fn saturating(value: u64) -> Self {
                if value > $max { Self($max) } else { Self(value) }
            }

            /// The bare number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// Sum, or `None` past the limit.
            #[must_use]
            pub const fn checked_add(self, other: Self) -> Option<Self> {
                match self.0.checked_add(other.0) {
                    Some(sum) => Self::new(sum),
                    None => None,
                }
            }

            /// Difference, or `None` below zero.
            #[must_use]
            pub const fn checked_sub(self, other: Self) -> Option<Self> {
                match self.0.checked_sub(other.0) {
                    Some(difference) => Some(Self(difference)),
                    None => None,
                }
            }

            /// Sum, cut off at the limit.
            #[must_use]
            pub const fn saturating_add(self, other: Self) -> Self {
                Self::saturating(self.0.saturating_add(other.0))
            }

            /// Difference, cut off at zero.
            #[must_use]
            pub const fn saturating_sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = u64::deserialize(deserializer)?;
                Self::new(value)
                    .ok_or_else(|| serde::de::Error::custom(concat!($unit, " above the limit")))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("{} ", $unit), self.0)
            }
        }
    };
}

bounded_integer!(
    /// An amount of money in millisatoshi.
    Msat, AMOUNT_MSAT_MAX, "msat"
);
bounded_integer!(
    /// A price in millisatoshi per million tokens.
    MsatPerMtok, PRICE_MSAT_PER_MTOK_MAX, "msat/1M tokens"
);
bounded_integer!(
    /// A number of tokens.
    Tokens, TOKENS_MAX, "tokens"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_accepted_and_one_more_is_not() {
        assert!(Msat::new(AMOUNT_MSAT_MAX).is_some());
        assert!(Msat::new(AMOUNT_MSAT_MAX + 1).is_none());
        assert!(Msat::MAX.checked_add(Msat::saturating(1)).is_none());
        assert!(serde_json::from_str::<Tokens>("4294967295").is_ok());
        assert!(serde_json::from_str::<Tokens>("4294967296").is_err());
        assert!(serde_json::from_str::<Msat>("-1").is_err());
        assert!(serde_json::from_str::<Msat>("1.5").is_err());
    }

    #[test]
    fn subtraction_stops_at_zero() {
        assert_eq!(Msat::ZERO.checked_sub(Msat::saturating(1)), None);
        assert_eq!(Msat::ZERO.saturating_sub(Msat::saturating(1)), Msat::ZERO);
    }
}
