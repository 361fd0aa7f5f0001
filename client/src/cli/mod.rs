//! The `fedai` command: one file per command. Data goes to stdout, everything else to stderr.

pub mod answer_report;
pub mod audit;
pub mod audit_output;
pub mod bench;
pub mod bench_output;
mod bench_plot;
pub mod chat;
pub mod chat_loop;
pub mod complete;
pub mod completions;
pub mod doctor;
pub mod exit_code;
pub mod failure;
pub mod global_flags;
pub mod job_flags;
pub mod json_output;
pub mod json_wish;
pub mod key;
pub mod launch;
pub mod models;
pub mod nodes;
pub mod quote;
pub mod receipts;
pub mod routers;
pub mod schema;
pub mod serve;
pub mod terminal;
pub mod up;
mod up_once;
pub mod up_runner;
mod usage_error;
pub mod why;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use fedai_relay_bridge::environment::{self, parse_or_exit};

use exit_code::ExitStatus;
use failure::CliFailure;
use global_flags::GlobalFlags;

/// Buy inference over Nostr relays, or run a whole network on this machine.
#[derive(Debug, Parser)]
#[command(name = "fedai", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    global: GlobalFlags,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run relay, router and node on this machine, with a real model
    Up(up::UpArgs),
    /// Ask a model, once or in a conversation
    Chat(chat::ChatArgs),
    /// Serve the network to any program that speaks OpenAI's API
    Serve(serve::ServeArgs),
    /// Print or write the settings of a program for the local endpoint
    Launch(launch::LaunchArgs),
    /// Continue a text
    Complete(complete::CompleteArgs),
    /// List the models that are offered
    Models(models::ModelsArgs),
    /// List the nodes that are there
    Nodes,
    /// List the routers that are there
    Routers,
    /// Ask for a price without buying
    Quote(quote::QuoteArgs),
    /// Compare nodes: token counts and answers to the same prompts
    Audit(audit::AuditArgs),
    /// Put load on the network's endpoint, or any OpenAI endpoint, and measure it
    Bench(bench::BenchArgs),
    /// Explain why a node was chosen
    Why(why::WhyArgs),
    /// List, show, check and export receipts
    #[command(subcommand)]
    Receipts(receipts::ReceiptsCommand),
    /// Make, show or import an identity key
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Check settings, relays, routers, nodes and runners
    Doctor,
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
    /// Print the JSON schema of what --json prints
    Schema(schema::SchemaArgs),
}

/// Runs the command line and gives its exit code. The agents' own command lines ride along as hidden first words, so
/// that one binary is a whole installation.
pub async fn execute(arguments: Vec<OsString>) -> ExitCode {
    let agent = arguments.get(1).and_then(|word| word.to_str()).unwrap_or_default();
    let rest = || arguments.iter().skip(1).cloned();
    match agent {
        "relay-bridge" => fedai_relay_bridge::cli::execute(parse_or_exit(rest())).await,
        "router-agent" => fedai_router_agent::cli::execute(parse_or_exit(rest())).await,
        "node-agent" => fedai_node_agent::cli::execute(parse_or_exit(rest())).await,
        _ => match environment::parse::<Cli>(&arguments) {
            Ok(cli) => execute_own(cli).await,
            Err(error) => usage_error::report(&error, &arguments),
        },
    }
}

/// The command line as clap knows it, for completions and tests.
#[must_use]
pub fn definition() -> clap::Command {
    Cli::command()
}

async fn execute_own(cli: Cli) -> ExitCode {
    cli.global.apply();
    let json = cli.global.json();
    match Box::pin(run(cli)).await {
        Ok(status) => status.into(),
        Err(failure) => {
            if failure.status != ExitStatus::Success {
                report(&failure, json);
            }
            failure.status.into()
        }
    }
}

fn report(failure: &CliFailure, json: bool) {
    terminal::say(&failure.for_people());
    if json {
        // Whoever reads stdout has gone: stderr has said it.
        drop(terminal::print_json(&failure.output()));
    }
}

async fn run(cli: Cli) -> Result<ExitStatus, CliFailure> {
    let global = &cli.global;
    match cli.command {
        Command::Up(arguments) => up::run(global, arguments).await,
        Command::Chat(arguments) => chat::run(&global.settings()?, arguments).await,
        Command::Serve(arguments) => serve::run(&global.settings()?, arguments).await,
        Command::Launch(arguments) => launch::run(&global.settings()?, arguments).await,
        Command::Complete(arguments) => complete::run(&global.settings()?, arguments).await,
        Command::Models(arguments) => models::run(&global.settings()?, &arguments).await,
        Command::Nodes => nodes::run(&global.settings()?).await,
        Command::Routers => routers::run(&global.settings()?).await,
        Command::Quote(arguments) => quote::run(&global.settings()?, arguments).await,
        Command::Audit(arguments) => audit::run(&global.settings()?, arguments).await,
        Command::Bench(arguments) => bench::run(global, arguments).await,
        Command::Why(arguments) => why::run(global, &arguments),
        Command::Receipts(command) => receipts::run(global, &command),
        Command::Key(command) => key::run(global, command),
        Command::Doctor => doctor::run(global).await,
        Command::Completions(arguments) => completions::run(global, &arguments),
        Command::Schema(arguments) => schema::run(global, &arguments),
    }
}
