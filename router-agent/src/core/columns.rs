//! What judging reads of a fleet, in columns of eight candidates: two cache lines a candidate fewer than its row, and
//! arithmetic on eight at once. Always written from the rows, never read back into them.

use super::candidate::CandidateView;
use super::lanes::{LANES, Lanes};

/// Flag of a candidate that may be judged without looking at its row.
pub(super) const PLAIN: u32 = 1 << 8;
/// Flag of a candidate that takes and gives text.
pub(super) const TEXT: u32 = 1 << 9;

/// The numbers of one candidate, or of eight.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Numbers<N> {
    pub(super) input_price: N,
    pub(super) output_price: N,
    pub(super) request_price: N,
    /// Prices by the fleet's way of counting.
    pub(super) true_input_price: N,
    pub(super) true_output_price: N,
    pub(super) rtt_ms: N,
    pub(super) prefill_ms: N,
    pub(super) prefill_sd_ms: N,
    pub(super) decode_ms: N,
    pub(super) decode_sd_ms: N,
    pub(super) decode_job_ms: N,
    pub(super) slots: N,
    /// Learned cap; infinite when none was learned.
    pub(super) cap: N,
    pub(super) in_flight: N,
    /// Announced jobs and those sent since.
    pub(super) announced: N,
    /// Jobs of others when the announcement is old.
    pub(super) others: N,
    pub(super) p_ok: N,
    pub(super) trust: N,
}

impl From<&CandidateView> for Numbers<f32> {
    fn from(row: &CandidateView) -> Self {
        Self {
            input_price: row.input_price as f32,
            output_price: row.output_price as f32,
            request_price: row.request_price as f32,
            true_input_price: (row.input_price * row.counted_input) as f32,
            true_output_price: (row.output_price * row.counted_output) as f32,
            rtt_ms: row.rtt_ms as f32,
            prefill_ms: row.prefill_ms as f32,
            prefill_sd_ms: row.prefill_sd_ms as f32,
            decode_ms: row.decode_ms as f32,
            decode_sd_ms: row.decode_sd_ms as f32,
            decode_job_ms: row.decode_job_ms as f32,
            slots: row.slots.max(1.0) as f32,
            cap: if row.learned_cap > 0.0 { row.learned_cap as f32 } else { f32::INFINITY },
            in_flight: row.in_flight as f32,
            announced: row.load_jobs as f32 + row.sent_since_load as f32,
            others: row.others as f32,
            p_ok: row.p_ok as f32,
            trust: row.trust as f32,
        }
    }
}

impl Numbers<Lanes> {
    fn set(&mut self, lane: usize, one: &Numbers<f32>) {
        self.input_price.set(lane, one.input_price);
        self.output_price.set(lane, one.output_price);
        self.request_price.set(lane, one.request_price);
        self.true_input_price.set(lane, one.true_input_price);
        self.true_output_price.set(lane, one.true_output_price);
        self.rtt_ms.set(lane, one.rtt_ms);
        self.prefill_ms.set(lane, one.prefill_ms);
        self.prefill_sd_ms.set(lane, one.prefill_sd_ms);
        self.decode_ms.set(lane, one.decode_ms);
        self.decode_sd_ms.set(lane, one.decode_sd_ms);
        self.decode_job_ms.set(lane, one.decode_job_ms);
        self.slots.set(lane, one.slots);
        self.cap.set(lane, one.cap);
        self.in_flight.set(lane, one.in_flight);
        self.announced.set(lane, one.announced);
        self.others.set(lane, one.others);
        self.p_ok.set(lane, one.p_ok);
        self.trust.set(lane, one.trust);
    }
}

/// Eight candidates. Times are microseconds as `f64`, which holds them exactly.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Block {
    pub(super) numbers: Numbers<Lanes>,
    pub(super) load_at: [f64; LANES],
    pub(super) heard_at: [f64; LANES],
    pub(super) lease_until: [f64; LANES],
    pub(super) context_tokens: [f64; LANES],
    pub(super) output_tokens_max: [f64; LANES],
    /// [`PLAIN`], [`TEXT`] and, in the low byte, the payment methods. Empty lanes have none.
    pub(super) flags: [u32; LANES],
}

impl Block {
    /// Writes a candidate into a lane.
    pub(super) fn set(&mut self, lane: usize, row: &CandidateView) {
        fn put<T>(column: &mut [T; LANES], lane: usize, value: T) {
            if let Some(slot) = column.get_mut(lane) {
                *slot = value;
            }
        }
        self.numbers.set(lane, &Numbers::from(row));
        put(&mut self.load_at, lane, row.load_at.0 as f64);
        put(&mut self.heard_at, lane, row.heard_at.0 as f64);
        put(&mut self.lease_until, lane, row.lease_until.micros().0 as f64);
        put(&mut self.context_tokens, lane, row.context_tokens as f64);
        put(&mut self.output_tokens_max, lane, row.output_tokens_max as f64);
        let is_plain = row.is_active && row.takes_router && row.breaker_until.0 == 0 && !row.has_misbehaved;
        let flags = if is_plain { PLAIN } else { 0 } | if row.is_text { TEXT } else { 0 };
        put(&mut self.flags, lane, flags | u32::from(row.payment));
    }

    /// The blocks of these candidates.
    pub(super) fn of(rows: &[CandidateView]) -> Vec<Self> {
        let mut blocks = vec![Self::default(); rows.len().div_ceil(LANES)];
        write_from(&mut blocks, rows, 0);
        blocks
    }
}

/// Writes the candidates from position `from` on.
pub(super) fn write_from(blocks: &mut Vec<Block>, rows: &[CandidateView], from: usize) {
    blocks.truncate(from / LANES);
    let kept = blocks.len() * LANES;
    blocks.resize(rows.len().div_ceil(LANES), Block::default());
    for (at, row) in rows.iter().enumerate().skip(kept) {
        write(blocks, at, row);
    }
}

/// Writes one candidate anew.
pub(super) fn write(blocks: &mut [Block], at: usize, row: &CandidateView) {
    if let Some(block) = blocks.get_mut(at / LANES) {
        block.set(at % LANES, row);
    }
}
