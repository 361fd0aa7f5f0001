//! From a finding to what is published: the same form in which routers rank nodes, for those who follow the auditor.

use fedai_protocol::TrustAssertion;
use fedai_protocol::trust_assertion::{EvidenceWeights, TrustDimensions, TrustEvidence};
use fedai_router_agent::core::trust::{ceiling_bound, earned_bound};

use super::{AuditVerdict, NodeFinding};

/// The assertion of a finding. Each compared answer is a job of full weight; what was inconclusive says nothing.
#[must_use]
pub fn assertion(finding: &NodeFinding) -> TrustAssertion {
    let failed = finding.jobs.saturating_sub(finding.answered);
    let disputed: u32 = finding.disputes.values().sum();
    let verdict = |verdict: AuditVerdict, answers: u32| match verdict {
        AuditVerdict::Consistent => weights(answers, 0),
        AuditVerdict::Outlier => weights(0, answers),
        AuditVerdict::Inconclusive => weights(0, 0),
    };
    let evidence = TrustEvidence {
        delivery: weights(finding.answered, failed),
        metering: verdict(finding.metering, finding.answered),
        price: weights(finding.answered.saturating_sub(disputed), disputed),
        identity: verdict(finding.identity, finding.compared),
    };
    let bound = |weights: EvidenceWeights| earned_bound(jobs(weights.good_milli), jobs(weights.bad_milli));
    let identity = (evidence.identity != EvidenceWeights::default())
        .then(|| ceiling_bound(jobs(evidence.identity.good_milli), jobs(evidence.identity.bad_milli)));
    let bounds = [bound(evidence.delivery), bound(evidence.metering), bound(evidence.price)];
    let score = bounds.into_iter().chain(identity).fold(1.0_f64, f64::min);
    let permille = |bound: f64| (bound * 1_000.0).round().clamp(0.0, 1_000.0) as u16;
    TrustAssertion {
        node: finding.node,
        rank: (score * 100.0).round().clamp(0.0, 100.0) as u8,
        dimensions: TrustDimensions {
            delivery_permille: permille(bound(evidence.delivery)),
            metering_permille: permille(bound(evidence.metering)),
            price_permille: permille(bound(evidence.price)),
            identity_permille: identity.map(permille),
        },
        evidence: Some(evidence),
        receipts: u64::from(finding.answered),
    }
}

const fn weights(good: u32, bad: u32) -> EvidenceWeights {
    EvidenceWeights { good_milli: good.saturating_mul(1_000), bad_milli: bad.saturating_mul(1_000) }
}

fn jobs(milli: u32) -> f64 {
    f64::from(milli) / 1_000.0
}
