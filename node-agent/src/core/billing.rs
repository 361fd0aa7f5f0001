//! Whether a job's payment holds, decided before any work.
//!
//! The rule: a missing or unknown payment refuses work; there is no mode in which payment is assumed. What
//! verifies is
//! behind one small trait. Today only free offers verify, and every other method is refused by name.

use fedai_protocol::payment_offer::{Balance, Payment, PaymentMethod};
use fedai_protocol::{Msat, Refusal, RefusalCode};

/// What a verifier is asked.
#[derive(Clone, Copy, Debug)]
pub struct PaymentQuestion<'a> {
    /// The payment in the job open.
    pub payment: &'a Payment,
    /// The method that the dispatch names.
    pub agreed: PaymentMethod,
    /// True when the offer has no price.
    pub offer_is_free: bool,
    /// Most that the job can come to.
    pub ceiling: Msat,
}

/// Decides about payments. Pure: it judges tokens, it does not fetch anything.
pub trait PaymentVerifier: Send {
    /// Methods that are taken for an offer, free or not; they go into the offer.
    fn methods(&self, offer_is_free: bool) -> Vec<PaymentMethod>;

    /// The balance a job starts with, or why it is refused.
    fn verify(&mut self, question: &PaymentQuestion<'_>) -> Result<Balance, Refusal>;
}

/// Takes no money: free offers are served, all else is refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct FreeOnly;

impl PaymentVerifier for FreeOnly {
    fn methods(&self, offer_is_free: bool) -> Vec<PaymentMethod> {
        // A priced offer names what it will be paid by, so that it is never mistaken for a free one.
        vec![if offer_is_free { PaymentMethod::Free } else { PaymentMethod::Ticket }]
    }

    fn verify(&mut self, question: &PaymentQuestion<'_>) -> Result<Balance, Refusal> {
        let method = question.payment.method;
        if method != PaymentMethod::Free {
            let message = format!("this node cannot verify payment by {}", method.as_str());
            return Err(Refusal::new(RefusalCode::PaymentNotAccepted, message));
        }
        if !question.offer_is_free {
            return Err(Refusal::new(
                RefusalCode::PaymentRequired,
                "this offer has a price and the job pays nothing",
            ));
        }
        if question.agreed != PaymentMethod::Free {
            let message =
                format!("the dispatch says payment by {}, the job brings none", question.agreed.as_str());
            return Err(Refusal::new(RefusalCode::PaymentRequired, message));
        }
        Ok(Balance::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_free_job_on_a_free_offer_is_taken() {
        let methods =
            [PaymentMethod::Free, PaymentMethod::Ticket, PaymentMethod::Credit, PaymentMethod::Unknown];
        for method in methods {
            for agreed in methods {
                for offer_is_free in [true, false] {
                    let payment = Payment { method, tokens: vec![] };
                    let question =
                        PaymentQuestion { payment: &payment, agreed, offer_is_free, ceiling: Msat::ZERO };
                    let all_free =
                        method == PaymentMethod::Free && agreed == PaymentMethod::Free && offer_is_free;
                    assert_eq!(FreeOnly.verify(&question).is_ok(), all_free, "{method:?} {agreed:?}");
                }
            }
        }
    }
}
