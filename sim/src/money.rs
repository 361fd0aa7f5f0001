//! Money of a simulated world: who pays whom, and that none is made or lost on the way.
//!
//! The cores judge what is owed, as in production; nothing here does. A node takes what is written to its account, the
//! client pays what its own core accepted, and the sum of what was paid is the sum of what was earned, after every
//! payment.

use fedai_node_agent::core::billing::{PaymentQuestion, PaymentVerifier};
use fedai_protocol::payment_offer::{Balance, PaymentMethod, PaymentTerms};
use fedai_protocol::{Msat, Refusal, RefusalCode};

/// Takes jobs that are paid as agreed: by account where they have a price, for nothing where they have none.
#[derive(Clone, Copy, Debug)]
pub struct AccountedPayment(pub PaymentMethod);

impl PaymentVerifier for AccountedPayment {
    fn methods(&self, offer_is_free: bool) -> Vec<PaymentMethod> {
        vec![if offer_is_free { PaymentMethod::Free } else { self.0 }]
    }

    fn verify(&mut self, question: &PaymentQuestion<'_>) -> Result<Balance, Refusal> {
        let expected = if question.offer_is_free { PaymentMethod::Free } else { self.0 };
        if question.payment.method == expected && question.agreed == expected {
            return Ok(Balance::default());
        }
        let text = format!("this offer is paid by {}", expected.as_str());
        Err(Refusal::new(RefusalCode::PaymentRequired, text))
    }
}

/// Terms of a node that is paid by this method.
#[must_use]
pub fn payment_terms(method: PaymentMethod) -> PaymentTerms {
    PaymentTerms { methods: vec![method], ..PaymentTerms::free() }
}

/// The books of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    /// Paid by clients.
    pub paid: u64,
    /// Accepted by clients and not paid.
    pub unpaid: u64,
    /// Earned, by node.
    pub nodes: Vec<u64>,
    /// Fees, by router.
    pub routers: Vec<u64>,
    /// Paid by accomplices for jobs of their own, by node; it is in the sums above, too.
    pub own: Vec<u64>,
    earned: u64,
}

impl Accounts {
    /// Empty books.
    #[must_use]
    pub fn new(nodes: usize, routers: usize) -> Self {
        Self { nodes: vec![0; nodes], routers: vec![0; routers], own: vec![0; nodes], ..Self::default() }
    }

    /// A client pays a node.
    pub fn pay_node(&mut self, node: usize, amount: Msat) {
        self.paid = self.paid.saturating_add(amount.get());
        if let Some(account) = self.nodes.get_mut(node) {
            *account = account.saturating_add(amount.get());
            self.earned = self.earned.saturating_add(amount.get());
        }
    }

    /// A client pays a router's fee.
    pub fn pay_router(&mut self, router: usize, amount: Msat) {
        self.paid = self.paid.saturating_add(amount.get());
        if let Some(account) = self.routers.get_mut(router) {
            *account = account.saturating_add(amount.get());
            self.earned = self.earned.saturating_add(amount.get());
        }
    }

    /// Notes that the payer was an accomplice of this node.
    pub fn paid_by_own(&mut self, node: usize, amount: Msat) {
        if let Some(account) = self.own.get_mut(node) {
            *account = account.saturating_add(amount.get());
        }
    }

    /// A client does not pay what it accepted.
    pub fn owe(&mut self, amount: Msat) {
        self.unpaid = self.unpaid.saturating_add(amount.get());
    }

    /// True when all that was paid has arrived.
    #[must_use]
    pub const fn is_balanced(&self) -> bool {
        self.paid == self.earned
    }

    /// The same, account by account.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        let sum = self.nodes.iter().chain(&self.routers).fold(0, |sum: u64, part| sum.saturating_add(*part));
        self.is_balanced() && sum == self.earned
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedai_protocol::payment_offer::Payment;

    #[test]
    fn a_priced_job_is_taken_only_when_it_is_paid_as_agreed() {
        use PaymentMethod::{Credit, Free, Ticket};
        for (method, agreed, offer_is_free, taken) in [
            (Credit, Credit, false, true),
            (Free, Free, true, true),
            (Free, Free, false, false),
            (Free, Credit, false, false),
            (Credit, Ticket, false, false),
            (Credit, Credit, true, false),
        ] {
            let payment = Payment { method, tokens: Vec::new() };
            let question = PaymentQuestion { payment: &payment, agreed, offer_is_free, ceiling: Msat::ZERO };
            assert_eq!(AccountedPayment(Credit).verify(&question).is_ok(), taken, "{method:?} {agreed:?}");
        }
    }

    #[test]
    fn what_goes_to_nobody_unbalances_the_books() {
        let mut accounts = Accounts::new(1, 1);
        accounts.pay_node(0, Msat::saturating(5));
        accounts.pay_router(0, Msat::saturating(1));
        accounts.owe(Msat::saturating(9));
        assert!(accounts.adds_up());
        assert_eq!((accounts.paid, accounts.unpaid, accounts.nodes[0]), (6, 9, 5));
        accounts.pay_node(7, Msat::saturating(1));
        assert!(!accounts.is_balanced());
    }
}
