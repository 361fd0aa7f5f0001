//! The conversation at a terminal. It keeps what was said, and the ticket: as long as that has jobs left, the next turn
//! needs no router. A signal ends it at the prompt too, where the thread that reads can only be left behind: the
//! terminal is then put back into the mode in which it was found.

use std::process::Stdio;

use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use serde_json::{Value, json};

use super::answer_report::summary_line;
use super::chat::{ChatArgs, buy_live, cancel_on_signal, contacts, spec, system_message, wait_for_signal};
use super::exit_code::ExitStatus;
use super::failure::CliFailure;
use super::global_flags::Settings;
use super::terminal;
use crate::shell::buyer::{Buyer, HeldTicket};

/// What a conversation remembers.
struct Conversation {
    messages: Vec<Value>,
    previous: Option<(String, fedai_protocol::PublicKey)>,
    held: Option<HeldTicket>,
}

/// Talks until the person ends it.
pub async fn run(settings: &Settings, arguments: &ChatArgs, buyer: &Buyer) -> Result<ExitStatus, CliFailure> {
    let contacts = contacts(settings, buyer).await?;
    let mut talk = Conversation { messages: system_message(arguments), previous: None, held: None };
    terminal::say(COMMANDS);
    let mut editor = Some(DefaultEditor::new().map_err(|error| {
        CliFailure::usage(format!("no terminal to talk at: {error}\nhint: give the prompt as an argument"))
    })?);
    let found = TerminalMode::save().await;
    loop {
        let prompt = tokio::select! {
            biased;
            () = wait_for_signal() => {
                found.restore().await;
                return Ok(ExitStatus::Interrupted);
            }
            line = read_turn(&mut editor) => line?,
        };
        let Some(prompt) = prompt else { return Ok(ExitStatus::Success) };
        match prompt.trim() {
            "" => {}
            "/clear" => {
                talk = Conversation { messages: system_message(arguments), ..talk };
                terminal::say("forgotten");
            }
            "/quit" | "/exit" => return Ok(ExitStatus::Success),
            word if is_command(word) => terminal::say(COMMANDS),
            text => turn(settings, arguments, buyer, &contacts, &mut talk, text).await,
        }
    }
}

/// What can be typed besides prompts.
const COMMANDS: &str = "Ctrl-D or /quit ends, Ctrl-C stops an answer, /clear forgets what was said.";

/// A mistyped command is not sent to a stranger as a prompt; a path or a sentence that begins with a slash is.
fn is_command(text: &str) -> bool {
    text.strip_prefix('/')
        .is_some_and(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphabetic()))
}

/// How the terminal was set before the line editor changed it. `stty` knows, wherever there is a terminal.
struct TerminalMode(Option<String>);

impl TerminalMode {
    async fn save() -> Self {
        let output = stty().arg("-g").stdout(Stdio::piped()).output().await;
        let said = output.ok().filter(|output| output.status.success());
        Self(said.and_then(|output| String::from_utf8(output.stdout).ok()).map(|mode| mode.trim().to_owned()))
    }

    async fn restore(&self) {
        if let Some(mode) = &self.0 {
            // The program ends in any case.
            drop(stty().arg(mode).status().await);
        }
        // The line editor also told the terminal to mark what is pasted.
        drop(terminal::print("\u{1b}[?2004l"));
        terminal::say("");
    }
}

/// It asks the terminal that is its standard input.
fn stty() -> tokio::process::Command {
    let mut command = tokio::process::Command::new("stty");
    command.stdin(Stdio::inherit()).stderr(Stdio::null());
    command
}

/// One line of the person; none at the end. Reading blocks, so it has a thread of its own, and not one of the
/// runtime's: the runtime would wait for the line before the program can end.
async fn read_turn(editor: &mut Option<DefaultEditor>) -> Result<Option<String>, CliFailure> {
    let Some(mut taken) = editor.take() else { return Ok(None) };
    let (sender, read) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let line = taken.readline("> ");
        if let Ok(line) = &line {
            // A line that is not remembered can still be answered.
            drop(taken.add_history_entry(line));
        }
        // Nobody waits any more when a signal has ended the conversation.
        drop(sender.send((taken, line)));
    });
    let (back, line) = read.await.map_err(|error| CliFailure::usage(error.to_string()))?;
    *editor = Some(back);
    match line {
        Ok(line) => Ok(Some(line)),
        Err(ReadlineError::Interrupted) => Ok(Some(String::new())),
        Err(ReadlineError::Eof) => Ok(None),
        Err(error) => Err(CliFailure::usage(format!("terminal: {error}"))),
    }
}

/// Buys one turn. A turn that fails is taken back, so that the next one does not answer it.
async fn turn(
    settings: &Settings,
    arguments: &ChatArgs,
    buyer: &Buyer,
    contacts: &[crate::shell::buyer::RouterContact],
    talk: &mut Conversation,
    text: &str,
) {
    talk.messages.push(json!({"role": "user", "content": text}));
    let previous = talk.previous.as_ref().map(|(model, node)| (model.as_str(), *node));
    let job = match spec(settings, arguments, talk.messages.clone(), contacts, previous) {
        Ok(job) => job,
        Err(failure) => {
            talk.messages.pop();
            return terminal::say(&failure.for_people());
        }
    };
    let cancel = cancel_on_signal();
    match buy_live(buyer, job, contacts, talk.held.take(), &cancel.token).await {
        Ok(Some(bought)) => {
            let answer = &bought.answer;
            talk.messages.push(json!({"role": "assistant", "content": answer.text}));
            talk.previous = Some((answer.ticket.dispatch.model.clone(), answer.settlement.node.node));
            if !settings.quiet {
                terminal::say(&summary_line(&bought));
            }
            talk.held = Some(bought.held);
        }
        Ok(None) => {}
        Err(failure) => {
            talk.messages.pop();
            match failure.status {
                ExitStatus::Interrupted => terminal::say("stopped; this turn is forgotten"),
                _ => terminal::say(&failure.for_people()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_after_a_slash_is_a_command_and_anything_else_a_prompt() {
        assert!(["/help", "/clear", "/Quit"].into_iter().all(is_command));
        assert!(
            ["/", "/etc/passwd", "/ what is this", "help", "/why me"]
                .into_iter()
                .all(|text| !is_command(text))
        );
    }
}
