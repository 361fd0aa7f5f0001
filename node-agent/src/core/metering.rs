//! From the runner's numbers to what is owed: bounded by what anyone can count, priced once, capped by the ticket.
//!
//! Rules: empty output, an error before the first token, or a whole answer without usage owe nothing; no claim leaves
//! here that a client with the same bytes would refute. Pieces of output stand in for tokens in one case only: an
//! answer that was broken off, for which runners say no usage. There they are a lower bound, in the client's favour.

use fedai_protocol::usage::UsageBoundError;
use fedai_protocol::{Msat, Price, Tokens, Usage};

/// What the runner says it used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportedUsage {
    /// Prompt tokens after the chat template.
    pub input_tokens: u64,
    /// Tokens generated.
    pub output_tokens: u64,
    /// Prompt tokens that came from a cache.
    pub cached_tokens: u64,
    /// Generated tokens spent on reasoning.
    pub reasoning_tokens: u64,
}

/// Sizes that both sides know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KnownBytes {
    /// Bytes of the request body.
    pub(crate) input: u64,
    /// Messages in it.
    pub(crate) messages: u64,
    /// Bytes of delivered text.
    pub(crate) output: u64,
}

/// What a broken-off answer used at least: a token for each piece of text. The prompt is not counted: nobody said its
/// size.
pub(crate) fn at_least(pieces: u64) -> ReportedUsage {
    ReportedUsage { output_tokens: pieces, ..ReportedUsage::default() }
}

/// The usage that goes into a receipt: as reported, cut to what the bytes allow.
pub(crate) fn bounded_usage(reported: Option<ReportedUsage>, known: KnownBytes) -> Usage {
    let bytes = Usage { input_bytes: known.input, output_bytes: known.output, ..Usage::default() };
    let Some(reported) = reported else { return bytes };
    let output = reported.output_tokens.min(known.output.saturating_add(1));
    let usage = Usage {
        input_tokens: Tokens::saturating(reported.input_tokens),
        cached_tokens: Tokens::saturating(reported.cached_tokens.min(reported.input_tokens)),
        output_tokens: Tokens::saturating(output),
        reasoning_tokens: Tokens::saturating(reported.reasoning_tokens.min(output)),
        ..bytes
    };
    match usage.check_bounds(known.input, known.messages, known.output) {
        Ok(()) => usage,
        // A prompt has no more tokens than bytes, whatever the template adds.
        Err(UsageBoundError::InputTokens { .. }) => {
            let input_tokens = Tokens::saturating(known.input);
            Usage { input_tokens, cached_tokens: usage.cached_tokens.min(input_tokens), ..usage }
        }
        Err(_) => bytes,
    }
}

/// What is owed for a usage, never above the ticket's ceiling.
pub(crate) fn amount(price: &Price, usage: &Usage, max_cost: Msat) -> Msat {
    price.amount(usage).unwrap_or(Msat::MAX).min(max_cost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedai_protocol::MsatPerMtok;

    const KNOWN: KnownBytes = KnownBytes { input: 400, messages: 1, output: 100 };

    fn reported(input: u64, output: u64) -> Option<ReportedUsage> {
        Some(ReportedUsage { input_tokens: input, output_tokens: output, ..ReportedUsage::default() })
    }

    #[test]
    fn every_claim_is_cut_to_what_a_client_would_believe() {
        for input in [0, 100, 512, 513, u64::MAX] {
            for output in [0, 1, 100, 101, 102, u64::MAX] {
                let usage = bounded_usage(reported(input, output), KNOWN);
                assert_eq!(usage.check_bounds(KNOWN.input, KNOWN.messages, KNOWN.output), Ok(()));
            }
        }
        let parts =
            ReportedUsage { input_tokens: 10, output_tokens: 5, cached_tokens: 99, reasoning_tokens: 99 };
        let usage = bounded_usage(Some(parts), KNOWN);
        assert_eq!((usage.cached_tokens.get(), usage.reasoning_tokens.get()), (10, 5));
    }

    #[test]
    fn missing_usage_and_empty_output_owe_nothing() {
        let price = Price { output: MsatPerMtok::saturating(1_000_000), ..Price::FREE };
        let max = Msat::saturating(1_000);
        assert_eq!(amount(&price, &bounded_usage(None, KNOWN), max), Msat::ZERO);
        let silent = KnownBytes { output: 0, ..KNOWN };
        assert_eq!(amount(&price, &bounded_usage(reported(50, 1), silent), max), Msat::ZERO);
    }

    #[test]
    fn the_amount_stops_at_the_ticket() {
        let price = Price { output: MsatPerMtok::saturating(1_000_000), ..Price::FREE };
        let usage = bounded_usage(reported(1, 90), KNOWN);
        assert_eq!(amount(&price, &usage, Msat::saturating(90)), Msat::saturating(90));
        assert_eq!(amount(&price, &usage, Msat::saturating(89)), Msat::saturating(89));
    }
}
