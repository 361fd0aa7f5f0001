//! What was handed on to the person, across nodes: never repeated, never lost, never stitched from two answers.
//!
//! When a second node answers the same request, its text is held back until it has passed what was handed on before; if
//! it says anything else on the way, the two answers differ and cannot be joined. Tool calls and reasoning come in
//! pieces that mean nothing one by one, so an answer of which such pieces were handed on is not joined at all.

use fedai_protocol::output_stream::OutputLine;

use super::job_spec::DeliveryMode;

/// Output of one job.
#[derive(Clone, Debug, Default)]
pub struct OutputDelivery {
    mode: DeliveryMode,
    handed_on: String,
    /// More than text was handed on.
    handed_on_more: bool,
    /// That was by an earlier attempt.
    is_beyond_joining: bool,
    current: String,
    lines: Vec<OutputLine>,
}

/// The answer of another node is a different one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other node's answer differs from what was already handed on")]
pub struct Diverged;

impl OutputDelivery {
    /// Nothing handed on yet.
    #[must_use]
    pub fn new(mode: DeliveryMode) -> Self {
        Self { mode, ..Self::default() }
    }

    /// True when something was handed on.
    #[must_use]
    pub fn has_shown(&self) -> bool {
        !self.handed_on.is_empty() || self.handed_on_more
    }

    /// Text of the current attempt so far.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.current
    }

    /// Another node begins the answer anew.
    pub fn next_attempt(&mut self) {
        self.current.clear();
        self.lines.clear();
        self.is_beyond_joining = self.handed_on_more;
    }

    /// What was handed on no longer counts: the person was told that the answer begins anew.
    pub fn forget_shown(&mut self) {
        self.handed_on.clear();
        (self.handed_on_more, self.is_beyond_joining) = (false, false);
    }

    /// Takes lines of the current attempt; gives what is to be handed on now.
    pub fn push(&mut self, lines: Vec<OutputLine>) -> Result<Vec<OutputLine>, Diverged> {
        let mut fresh = Vec::new();
        for line in lines {
            self.current.push_str(&line.text);
            if self.mode == DeliveryMode::Buffered {
                self.lines.push(line);
                continue;
            }
            if let Some(line) = self.unseen(line)? {
                self.handed_on.push_str(&line.text);
                self.handed_on_more |= delivers_more(&line);
                fresh.push(line);
            }
        }
        Ok(fresh)
    }

    /// The attempt ended well; gives what was held back. Fails when the new answer is shorter than what was shown.
    pub fn finish(&mut self) -> Result<Vec<OutputLine>, Diverged> {
        if self.is_beyond_joining || (self.mode == DeliveryMode::Live && self.current != self.handed_on) {
            return Err(Diverged);
        }
        Ok(core::mem::take(&mut self.lines))
    }

    /// The part of a line that was not handed on before.
    fn unseen(&self, line: OutputLine) -> Result<Option<OutputLine>, Diverged> {
        if self.is_beyond_joining && line.delivered > 0 {
            return Err(Diverged);
        }
        let (new, old) = (self.current.as_str(), self.handed_on.as_str());
        let common = new.len().min(old.len());
        if new.as_bytes().get(..common) != old.as_bytes().get(..common) {
            return Err(Diverged);
        }
        if new.len() < old.len() {
            // What it says beside the text was not said at this place before, or says nothing, like a role.
            return if delivers_more(&line) { Err(Diverged) } else { Ok(None) };
        }
        let fresh = new.len().saturating_sub(old.len());
        if fresh >= line.text.len() {
            return Ok(Some(line));
        }
        Ok(line.after(line.text.len().saturating_sub(fresh)))
    }
}

/// True for a tool call, reasoning, and whatever else is no text.
const fn delivers_more(line: &OutputLine) -> bool {
    line.delivered > line.text.len() as u64
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use fedai_protocol::output_stream::{OutputCounter, output_line};
    use proptest::prelude::*;

    fn line(text: &str) -> OutputLine {
        let line = output_line(&serde_json::json!({"index": 0, "delta": {"content": text}}));
        OutputCounter::default().push(&line).unwrap().remove(0)
    }

    /// What the lines say, in each of their forms.
    fn text(lines: &[OutputLine]) -> String {
        let in_choices: String =
            lines.iter().map(|line| line.choice()["delta"]["content"].as_str().unwrap().to_owned()).collect();
        let text: String = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(text, in_choices);
        text
    }

    #[test]
    fn a_different_answer_is_never_joined() {
        let mut delivery = OutputDelivery::new(DeliveryMode::Live);
        delivery.push(vec![line("red, gr")]).unwrap();
        delivery.next_attempt();
        assert_eq!(text(&delivery.push(vec![line("red")]).unwrap()), "");
        assert_eq!(delivery.push(vec![line(", blue")]), Err(Diverged));
    }

    fn choice(delta: serde_json::Value) -> OutputLine {
        let line = output_line(&serde_json::json!({"index": 0, "delta": delta}));
        OutputCounter::default().push(&line).unwrap().remove(0)
    }

    #[test]
    fn tool_calls_and_reasoning_of_two_answers_are_never_joined() {
        let call = |arguments: &str| {
            choice(serde_json::json!({"tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}))
        };
        let reasoning = || choice(serde_json::json!({"reasoning_content": "hm"}));
        for shown in [call("{\"loc"), reasoning()] {
            for next in [call("{\"loc"), reasoning(), line("red")] {
                let mut delivery = OutputDelivery::new(DeliveryMode::Live);
                assert_eq!(delivery.push(vec![shown.clone()]).unwrap().len(), 1);
                assert!(delivery.has_shown());
                delivery.next_attempt();
                assert_eq!(delivery.push(vec![next.clone()]), Err(Diverged), "{next:?}");
                delivery.forget_shown();
                delivery.next_attempt();
                assert_eq!(delivery.push(vec![next]).unwrap().len(), 1, "after a restart it may");
            }
        }
        let mut delivery = OutputDelivery::new(DeliveryMode::Live);
        delivery.push(vec![call("{}")]).unwrap();
        delivery.next_attempt();
        assert_eq!(delivery.finish(), Err(Diverged), "an answer without anything is another one, too");
    }

    #[test]
    fn what_comes_beside_the_text_is_handed_on_once() {
        let (role, call) = (
            || choice(serde_json::json!({"role": "assistant", "content": ""})),
            || choice(serde_json::json!({"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]})),
        );
        let mut delivery = OutputDelivery::new(DeliveryMode::Live);
        assert_eq!(delivery.push(vec![role(), line("red")]).unwrap().len(), 2);
        delivery.next_attempt();
        assert!(delivery.push(vec![role(), line("re")]).unwrap().is_empty());
        assert_eq!(delivery.push(vec![call()]), Err(Diverged), "the first one had gone on with text");
        delivery.next_attempt();
        assert!(delivery.push(vec![line("red")]).unwrap().is_empty());
        assert_eq!(delivery.push(vec![call()]).unwrap().len(), 1, "nothing was said after that before");
    }

    #[test]
    fn a_shorter_answer_is_noticed_at_its_end() {
        let mut delivery = OutputDelivery::new(DeliveryMode::Live);
        delivery.push(vec![line("red, green")]).unwrap();
        delivery.next_attempt();
        delivery.push(vec![line("red")]).unwrap();
        assert_eq!(delivery.finish(), Err(Diverged));
    }

    #[test]
    fn nothing_is_handed_on_early_when_buffered() {
        let mut delivery = OutputDelivery::new(DeliveryMode::Buffered);
        assert!(delivery.push(vec![line("half an ans")]).unwrap().is_empty());
        delivery.next_attempt();
        delivery.push(vec![line("another")]).unwrap();
        assert_eq!(text(&delivery.finish().unwrap()), "another");
    }

    proptest! {
        #[test]
        fn the_same_answer_cut_anywhere_is_handed_on_once(
            answer in "[a-cäß ]{0,40}",
            shown in 0_usize..40,
            size in 1_usize..6,
        ) {
            let characters: Vec<char> = answer.chars().collect();
            let mut delivery = OutputDelivery::new(DeliveryMode::Live);
            let first: String = characters.iter().take(shown).collect();
            let mut all = text(&delivery.push(vec![line(&first)]).unwrap());
            delivery.next_attempt();
            for piece in characters.chunks(size) {
                let piece: String = piece.iter().collect();
                all.push_str(&text(&delivery.push(vec![line(&piece)]).unwrap()));
            }
            all.push_str(&text(&delivery.finish().unwrap()));
            prop_assert_eq!(all, answer);
        }
    }
}
