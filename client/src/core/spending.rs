//! What may still be spent. The worst case of every attempt is reserved before it begins, and settled by a receipt that
//! was checked; an attempt that ended without one costs nothing. Spent and reserved together never pass the limit.

use std::collections::BTreeMap;

use fedai_protocol::Msat;

/// Money of one job or one session.
#[derive(Clone, Debug, Default)]
pub struct Spending {
    limit: Option<Msat>,
    spent: Msat,
    reserved: BTreeMap<u32, Msat>,
}

/// Why an attempt is not begun, or a receipt not settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpendingError {
    /// The worst case does not fit any more.
    #[error("it could cost {wanted}, and {left} are left")]
    OverLimit {
        /// Worst case.
        wanted: Msat,
        /// What is left.
        left: Msat,
    },
    /// More than was reserved.
    #[error("{charged} are charged where at most {reserved} were agreed")]
    OverReservation {
        /// Charged.
        charged: Msat,
        /// Reserved.
        reserved: Msat,
    },
}

impl Spending {
    /// A budget; without a limit everything fits.
    #[must_use]
    pub fn new(limit: Option<Msat>) -> Self {
        Self { limit, ..Self::default() }
    }

    /// What was spent.
    #[must_use]
    pub const fn spent(&self) -> Msat {
        self.spent
    }

    /// What can still be reserved.
    #[must_use]
    pub fn left(&self) -> Msat {
        let taken = self.reserved.values().fold(self.spent, |sum, part| sum.saturating_add(*part));
        self.limit.unwrap_or(Msat::MAX).saturating_sub(taken)
    }

    /// Sets the worst case of an attempt aside.
    pub fn reserve(&mut self, attempt: u32, worst: Msat) -> Result<(), SpendingError> {
        let left = self.left();
        if worst > left {
            return Err(SpendingError::OverLimit { wanted: worst, left });
        }
        self.reserved.insert(attempt, worst);
        Ok(())
    }

    /// Books what an attempt really cost and frees the rest.
    pub fn settle(&mut self, attempt: u32, charged: Msat) -> Result<(), SpendingError> {
        let reserved = self.reserved.remove(&attempt).unwrap_or_default();
        if charged > reserved {
            return Err(SpendingError::OverReservation { charged, reserved });
        }
        self.spent = self.spent.saturating_add(charged);
        Ok(())
    }

    /// Frees the reservation of an attempt that costs nothing.
    pub fn release(&mut self, attempt: u32) {
        self.reserved.remove(&attempt);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn msat(n: u64) -> Msat {
        Msat::saturating(n)
    }

    #[test]
    fn the_limit_can_be_reserved_and_one_more_cannot() {
        let mut spending = Spending::new(Some(msat(100)));
        assert_eq!(spending.reserve(0, msat(100)), Ok(()));
        let over = SpendingError::OverLimit { wanted: msat(1), left: Msat::ZERO };
        assert_eq!(spending.reserve(1, msat(1)), Err(over));
        spending.release(0);
        assert_eq!(spending.reserve(1, msat(1)), Ok(()));
    }

    #[test]
    fn a_charge_above_the_reservation_is_not_booked() {
        let mut spending = Spending::new(None);
        spending.reserve(0, msat(10)).unwrap();
        assert!(spending.settle(0, msat(11)).is_err());
        assert_eq!(spending.spent(), Msat::ZERO);
    }

    proptest! {
        #[test]
        fn spent_and_reserved_never_pass_the_limit(
            limit in 0_u64..1000,
            steps in prop::collection::vec((0_u32..4, 0_u64..600, 0_u8..3), 0..60),
        ) {
            let mut spending = Spending::new(Some(msat(limit)));
            for (attempt, amount, step) in steps {
                match step {
                    0 if !spending.reserved.contains_key(&attempt) => drop(spending.reserve(attempt, msat(amount))),
                    1 => drop(spending.settle(attempt, msat(amount))),
                    _ => spending.release(attempt),
                }
                let reserved: u64 = spending.reserved.values().map(|part| part.get()).sum();
                prop_assert!(spending.spent().get() + reserved <= limit);
            }
        }
    }
}
