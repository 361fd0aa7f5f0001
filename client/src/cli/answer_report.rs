//! How an answer is handed to a person or a program: text as it streams, one line about what it cost on stderr, or one
//! JSON object at the end.

use std::io;
use std::ops::ControlFlow;

use fedai_protocol::PublicKey;
use fedai_protocol::output_stream::OutputLine;
use nostr::ToBech32;

use super::exit_code::ExitStatus;
use super::failure::CliFailure;
use super::json_output::{AnswerOutput, AttemptOutput, TimingsOutput, UsageOutput};
use super::terminal;
use crate::core::job_ending::AttemptNote;
use crate::shell::buyer::{Bought, OutputSink};
use crate::shell::receipt_store::DISPUTES_FILE_NAME;

/// Prints text as it comes.
#[derive(Debug, Default)]
pub struct StreamPrinter {
    /// Why nothing more can be written.
    failed: Option<io::Error>,
    ends_with_break: bool,
}

impl OutputSink for StreamPrinter {
    fn deliver(&mut self, lines: &[OutputLine]) -> ControlFlow<()> {
        let text: String = lines.iter().map(|line| line.text.as_str()).collect();
        if text.is_empty() {
            return ControlFlow::Continue(());
        }
        self.ends_with_break = text.ends_with('\n');
        // A reader that takes its time, as a pager does, must not keep the connections from being served.
        match tokio::task::block_in_place(|| terminal::print_foreign(&text)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failed = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    fn restarted(&mut self) {
        terminal::say("\n--- the node is gone; another node begins the answer anew ---");
    }
}

impl StreamPrinter {
    /// True when nothing more can be written.
    #[must_use]
    pub const fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Ends the answer's last line. An error when not all of the answer could be written: a full disk is a failure,
    /// a reader that has gone is not, which the caller tells apart.
    pub fn finish(self) -> io::Result<()> {
        match self.failed {
            Some(error) => Err(error),
            None if self.ends_with_break => Ok(()),
            None => terminal::print("\n"),
        }
    }
}

/// Keeps everything for the end.
#[derive(Debug, Default)]
pub struct Silent;

impl OutputSink for Silent {
    fn deliver(&mut self, _lines: &[OutputLine]) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn restarted(&mut self) {}
}

/// The object that `--json` prints.
#[must_use]
pub fn answer_output(bought: &Bought) -> AnswerOutput {
    let answer = &bought.answer;
    let (settlement, usage) = (&answer.settlement, &answer.usage);
    AnswerOutput {
        v: 1,
        output: answer.text.clone(),
        model: answer.ticket.dispatch.model.clone(),
        node: settlement.node.node.to_hex(),
        node_npub: npub(&settlement.node.node),
        router: answer.ticket.router.to_hex(),
        router_npub: npub(&answer.ticket.router),
        receipt: settlement.receipt.id().to_hex(),
        verified: settlement.verdict.is_ok(),
        dispute: settlement.verdict.err().map(|dispute| dispute.code().to_owned()),
        usage: UsageOutput {
            input_tokens: usage.input_tokens.get(),
            cached_tokens: usage.cached_tokens.get(),
            output_tokens: usage.output_tokens.get(),
            reasoning_tokens: usage.reasoning_tokens.get(),
            input_bytes: usage.input_bytes,
            output_bytes: usage.output_bytes,
        },
        cost_msat: settlement.verdict.map_or(0, fedai_protocol::Msat::get),
        finish_reason: answer.finish_reason.clone(),
        timings_ms: TimingsOutput {
            quote: answer.quote_ms,
            first_token: answer.ttft_ms,
            total: answer.total_ms,
        },
        job: settlement.job.to_string(),
        decision: answer.ticket.request.to_hex(),
        attempts: attempts(&answer.attempts),
    }
}

/// `model · tokens · price · receipt · verified`.
#[must_use]
pub fn summary_line(bought: &Bought) -> String {
    let output = answer_output(bought);
    let verdict = match &output.dispute {
        None => "verified".to_owned(),
        Some(code) => format!("NOT VERIFIED ({code})"),
    };
    format!(
        "{} · {}+{} tokens · {} msat · receipt {} · {verdict}",
        output.model, output.usage.input_tokens, output.usage.output_tokens, output.cost_msat, output.receipt
    )
}

/// Success when the receipt holds.
pub async fn status_of(bought: &mut Bought) -> Result<ExitStatus, CliFailure> {
    let is_kept = bought.is_kept().await;
    if let Err(dispute) = bought.answer.settlement.verdict {
        let text = format!(
            "receipt {}: {dispute}\nhint: {}",
            bought.answer.settlement.receipt.id().to_hex(),
            dispute_hint(is_kept)
        );
        return Err(CliFailure::new(ExitStatus::Verification, dispute.code(), text));
    }
    if !is_kept {
        terminal::say("warning: the receipt was not written to disk; see --data");
    }
    Ok(ExitStatus::Success)
}

/// What a person can do about a receipt that was disputed.
fn dispute_hint(is_kept: bool) -> String {
    if is_kept {
        format!("nothing was paid; the evidence is the last line of {DISPUTES_FILE_NAME} in the data folder")
    } else {
        "nothing was paid; the evidence was not written to disk: see --data".to_owned()
    }
}

/// Nodes tried, as `--json` shows them.
#[must_use]
pub fn attempts(notes: &[AttemptNote]) -> Vec<AttemptOutput> {
    let row = |note: &AttemptNote| AttemptOutput { node: note.node.to_hex(), outcome: note.outcome.clone() };
    notes.iter().map(row).collect()
}

/// A key as npub.
#[must_use]
pub fn npub(key: &PublicKey) -> String {
    match key.to_bech32() {
        Ok(text) => text,
        Err(never) => match never {},
    }
}
