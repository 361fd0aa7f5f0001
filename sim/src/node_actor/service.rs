//! What a node does with the jobs that its core gives to the runner.

use fedai_node_agent::core::metering::ReportedUsage;
use fedai_node_agent::core::{Input, RunnerWork};
use fedai_protocol::output_stream::output_line;
use fedai_protocol::{JobId, Refusal, RefusalCode};

use super::NodeActor;
use crate::conduct::Passage;
use crate::runner::{Due, Progress, RunnerEvent, Work};
use crate::turn::{Effect, Fact, Turn};
use crate::workload::prompt::Prompt;

/// A job on the runner.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    prompt: Prompt,
    words: u64,
    /// Words that the runner makes for them: fewer when a smaller model does the work.
    made: u64,
    said: u64,
    is_stalled: bool,
}

impl Task {
    /// Words of the answer for so many that the runner made.
    fn of_answer(&self, made: u64) -> u64 {
        if self.made == self.words { made } else { made.saturating_mul(self.words) / self.made.max(1) }
    }
}

impl NodeActor {
    pub(super) fn start_runner(
        &mut self,
        job: JobId,
        work: &RunnerWork,
        turn: &mut Turn<'_>,
    ) -> Option<Input> {
        turn.facts.push(Fact::RunnerStarted(job));
        let told = self.life.as_mut().and_then(|life| life.prompts.remove(&job));
        let Some(prompt) = told.or_else(|| Prompt::read(&work.body)) else {
            let refusal = Refusal::new(RefusalCode::RunnerRejected, "not a prompt of this world");
            return Some(Input::RunnerError { job, refusal });
        };
        let permille = self.conduct.as_mut().map_or(1_000, |conduct| conduct.work_permille(turn.now));
        let words = prompt.words.min(u64::from(work.max_output_tokens));
        let part = |tokens: u64| tokens.saturating_mul(permille).div_ceil(1_000).min(tokens);
        let made = part(words);
        let (prompt, words, made) = match self.bent_work(prompt, words) {
            (prompt, bent) if bent != words => (prompt, bent, bent),
            (prompt, words) => (prompt, words, made),
        };
        let prefix = self.blocks.prefix(prompt.job);
        let said = self.conduct.as_mut().map_or(prompt, |conduct| conduct.answers(turn.now, prompt));
        if let Some(life) = &mut self.life {
            life.work.insert(job, Task { prompt: said, words, made, said: 0, is_stalled: false });
        }
        let asked = Work { prompt_tokens: part(prompt.tokens()), output_tokens: made, prefix };
        match self.runner.submit(turn.now, job, asked) {
            Ok(due) => {
                turn.effects.extend(due.map(Effect::Runner));
                None
            }
            Err(refusal) => {
                if let Some(life) = &mut self.life {
                    life.work.remove(&job);
                }
                let refusal = Refusal::new(RefusalCode::RunnerRejected, refusal.to_string());
                Some(Input::RunnerError { job, refusal })
            }
        }
    }

    /// A step of the runner that was asked for in this life.
    pub fn runner_step(&mut self, due: Due, turn: &mut Turn<'_>) {
        let Progress { events, next } = self.runner.step(turn.now, due.ticket);
        turn.effects.extend(next.map(Effect::Runner));
        for event in events {
            match event {
                RunnerEvent::Tokens { key, from, count } => self.say(key, from, count, turn),
                RunnerEvent::Done { key, cached_tokens, output_tokens } => {
                    self.end_of_answer(key, cached_tokens, output_tokens, turn);
                }
            }
        }
    }

    fn say(&mut self, job: JobId, from_made: u64, count: u64, turn: &mut Turn<'_>) {
        let said = self.life.as_ref().and_then(|life| life.work.get(&job)).map_or(0, |task| task.said);
        let stalls = self.stalls_at(said);
        let Some(task) = self.life.as_mut().and_then(|life| life.work.get_mut(&job)) else { return };
        task.is_stalled |= stalls;
        if let Some(conduct) = &mut self.conduct {
            task.is_stalled |= conduct.output(turn.now, task.said) == Passage::Hold;
        }
        if task.is_stalled {
            // Its slot is free for the next one.
            turn.effects.extend(self.runner.cancel(turn.now, &job).map(Effect::Runner));
            return;
        }
        let (prompt, from) = (task.prompt, task.of_answer(from_made));
        let below = task.of_answer(from_made.saturating_add(count));
        task.said = below;
        let text = if self.identity.real().is_some() {
            (from..below).map(|number| prompt.word(number)).collect::<String>()
        } else {
            prompt.short_words(from, below)
        };
        let line = if self.identity.real().is_some() {
            output_line(&serde_json::json!({"index": 0, "delta": {"content": text}}))
        } else {
            // Digits and spaces only: nothing to escape.
            format!("{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}\n")
        };
        self.take(Input::RunnerDelta { job, line }, turn);
    }

    fn end_of_answer(&mut self, job: JobId, cached_tokens: u64, made: u64, turn: &mut Turn<'_>) {
        let task = self.life.as_mut().and_then(|life| life.work.remove(&job));
        let Some(task) = task.filter(|task| !task.is_stalled) else { return };
        let line = "{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}\n".to_owned();
        self.take(Input::RunnerDelta { job, line }, turn);
        let (input_tokens, output_tokens) = (task.prompt.tokens(), task.of_answer(made));
        let mut usage =
            ReportedUsage { input_tokens, output_tokens, cached_tokens, ..ReportedUsage::default() };
        if let Some(conduct) = &mut self.conduct {
            conduct.usage(turn.now, &mut usage);
        }
        self.take(Input::RunnerUsage { job, usage }, turn);
        self.take(Input::RunnerDone { job }, turn);
    }
}
