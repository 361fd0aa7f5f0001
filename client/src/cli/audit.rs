//! `fedai audit`: the same ordinary-looking jobs at every node that offers a model; who counts or answers otherwise
//! than the others. With `--publish` the findings go out for routers that follow the auditor.

use fedai_protocol::job_open::JobEndpoint;
use fedai_protocol::message::Message;
use fedai_protocol::{Entropy, PublicKey, RefusalCode, SigningKey};
use fedai_relay_bridge::{SystemEntropy, key_file, wall_clock};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::answer_report::{Silent, npub};
use super::audit_output::{AuditOutput, AuditRow};
use super::chat::{cancel_on_signal, contacts};
use super::exit_code::ExitStatus;
use super::failure::CliFailure;
use super::global_flags::Settings;
use super::job_flags::{BreakPolicy, JobFlags};
use super::terminal;
use crate::core::audit::canary::{self, Canary};
use crate::core::audit::{CanaryAnswer, CanaryOutcome, NodeFinding, assertion, judge};
use crate::core::job_ending::JobFailure;
use crate::core::job_spec::{DeliveryMode, JobSpec};
use crate::shell::buyer::{Bought, Buyer, RouterContact};
use crate::shell::config::parse_key;
use crate::shell::network_view::NetworkView;

/// Nodes of one audit.
const NODES_MAX: usize = 64;

/// Flags of `fedai audit`.
#[derive(Clone, Debug, clap::Args)]
pub struct AuditArgs {
    /// Model to audit [default: the one that most nodes offer]
    #[arg(short, long, env = "FEDAI_MODEL", value_name = "NAME", hide_env_values = true)]
    pub model: Option<String>,
    /// Only this node, hex or npub; repeat for several [default: all that offer the model]
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    pub node: Vec<PublicKey>,
    /// Node whose answers are taken as known, one of your own for example
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    pub reference: Option<PublicKey>,
    /// Jobs for each node
    #[arg(long, value_name = "K", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub jobs: u32,
    /// Sign the findings as trust assertions, for routers that follow this auditor
    #[arg(long)]
    pub publish: bool,
    #[arg(long, env = "FEDAI_PASSPHRASE", hide = true, hide_env_values = true)]
    passphrase: Option<String>,
}

/// A node to be audited.
struct Audited {
    node: PublicKey,
    name: String,
    make: String,
}

/// Runs the command.
pub async fn run(settings: &Settings, arguments: AuditArgs) -> Result<ExitStatus, CliFailure> {
    let buyer = settings.connect().await?;
    let outcome = audit(settings, &arguments, &buyer).await;
    buyer.close().await;
    outcome
}

async fn audit(settings: &Settings, arguments: &AuditArgs, buyer: &Buyer) -> Result<ExitStatus, CliFailure> {
    let contacts = contacts(settings, buyer).await?;
    let patience = settings.timeout.min(std::time::Duration::from_secs(5));
    let view = NetworkView::fetch_all(buyer.pool(), wall_clock::now_seconds(), patience).await;
    let wanted = arguments.model.as_ref().or(settings.model.as_ref()).map(|model| model.to_lowercase());
    let model = wanted.or_else(|| common_model(&view)).ok_or_else(nobody)?;
    let nodes = audited(&view, &model, arguments);
    if nodes.len() < 2 {
        let text = format!(
            "{} nodes offer {model:?}, an audit compares at least two\nhint: see what is offered: fedai models",
            nodes.len()
        );
        return Err(CliFailure::new(ExitStatus::NoMatch, "no_node", text));
    }
    if arguments.reference.is_some_and(|reference| nodes.iter().all(|audited| audited.node != reference)) {
        let text = format!("the reference node does not offer {model:?}\nhint: see fedai models");
        return Err(CliFailure::new(ExitStatus::NoMatch, "no_node", text));
    }
    if nodes.len() < 3 && arguments.reference.is_none() && !settings.quiet {
        terminal::say("two nodes can differ, and nobody can tell which is right: name one with --reference");
    }
    let cancel = cancel_on_signal();
    let bench = Bench { settings, buyer, contacts: &contacts, model: &model };
    let answers = bench.ask_all(&nodes, arguments.jobs, &cancel.token).await?;
    let findings = judge(&answers, arguments.reference.as_ref());
    report(settings, arguments, buyer, &model, &nodes, &findings).await
}

/// The model that most nodes offer.
fn common_model(view: &NetworkView) -> Option<String> {
    let mut counts = std::collections::BTreeMap::<&str, std::collections::BTreeSet<PublicKey>>::new();
    for offer in &view.offers {
        counts.entry(&offer.received.message.model).or_default().insert(offer.received.author);
    }
    let most = counts.into_iter().max_by(|a, b| a.1.len().cmp(&b.1.len()).then(b.0.cmp(a.0)));
    most.map(|(model, _)| model.to_owned())
}

fn nobody() -> CliFailure {
    let text =
        "no node is announced on these relays\nhint: start one: fedai up; or name other relays: --relay";
    CliFailure::new(ExitStatus::NoMatch, "no_node", text)
}

/// The nodes that offer the model, each once.
fn audited(view: &NetworkView, model: &str, arguments: &AuditArgs) -> Vec<Audited> {
    let mut nodes: Vec<Audited> = Vec::new();
    for offer in &view.offers {
        let (node, message) = (offer.received.author, &offer.received.message);
        let is_wanted =
            arguments.node.is_empty() || arguments.node.contains(&node) || arguments.reference == Some(node);
        if message.model != model || !is_wanted || nodes.iter().any(|known| known.node == node) {
            continue;
        }
        let parts = [message.quantization.as_deref(), message.digest.as_deref().map(terminal::short)];
        let make = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
        nodes.push(Audited { node, name: message.node.clone(), make });
    }
    nodes.truncate(NODES_MAX);
    nodes
}

/// What the jobs of an audit have in common.
struct Bench<'a> {
    settings: &'a Settings,
    buyer: &'a Buyer,
    contacts: &'a [RouterContact],
    model: &'a str,
}

impl Bench<'_> {
    /// Every canary to every node, in an order that tells nothing. One at a time: an audit is no load test.
    async fn ask_all(
        &self,
        nodes: &[Audited],
        jobs: u32,
        cancel: &CancellationToken,
    ) -> Result<Vec<CanaryAnswer>, CliFailure> {
        let canaries = canary::write(jobs, &mut SystemEntropy);
        let all = canaries.len() * nodes.len();
        let mut answers = Vec::with_capacity(all);
        for (at, canary) in canaries.iter().enumerate() {
            let mut left: Vec<&Audited> = nodes.iter().collect();
            while !left.is_empty() {
                let next = usize::try_from(SystemEntropy.below(left.len() as u64)).unwrap_or_default();
                let audited = left.swap_remove(next.min(left.len() - 1));
                let outcome = self.ask(audited, canary, cancel).await?;
                if !self.settings.quiet {
                    let name = terminal::without_controls(&audited.name).into_owned();
                    terminal::say(&format!("{}/{all} {name}: {}", answers.len() + 1, what(&outcome)));
                }
                let make = audited.make.clone();
                answers.push(CanaryAnswer { node: audited.node, make, canary: at, outcome });
            }
        }
        Ok(answers)
    }

    /// One job with fresh keys, like anybody's.
    async fn ask(
        &self,
        audited: &Audited,
        canary: &Canary,
        cancel: &CancellationToken,
    ) -> Result<CanaryOutcome, CliFailure> {
        let spec = self.spec(audited.node, canary)?;
        match self.buyer.run(spec, self.contacts, None, &mut Silent, cancel).await {
            Ok(bought) => Ok(answered(&bought)),
            Err(failure) if failure.refusal.code == RefusalCode::Cancelled => Err(failure.into()),
            Err(failure) => Ok(failed(&failure)),
        }
    }

    fn spec(&self, node: PublicKey, canary: &Canary) -> Result<JobSpec, CliFailure> {
        let flags = JobFlags {
            model: Some(self.model.to_owned()),
            max_tokens: canary.max_tokens,
            temperature: Some(0.0),
            seed: Some(canary.seed),
            on_break: BreakPolicy::Fail,
        };
        let mut fields = flags.request_fields(Some(self.model));
        let message = json!({"role": "user", "content": canary.prompt});
        fields.insert("messages".into(), Value::Array(vec![message]));
        let mut spec = flags.spec(self.settings, JobEndpoint::Chat, fields, self.contacts, None)?;
        spec.constraints.only_nodes = vec![node];
        spec.delivery = DeliveryMode::Buffered;
        Ok(spec)
    }
}

fn answered(bought: &Bought) -> CanaryOutcome {
    let (answer, settlement) = (&bought.answer, &bought.answer.settlement);
    CanaryOutcome::Answered {
        text: answer.text.clone(),
        input_tokens: answer.usage.input_tokens.get(),
        output_tokens: answer.usage.output_tokens.get(),
        dispute: settlement.verdict.as_ref().err().map(|dispute| dispute.code().to_owned()),
    }
}

fn failed(failure: &JobFailure) -> CanaryOutcome {
    CanaryOutcome::Failed(failure.refusal.code.as_str())
}

fn what(outcome: &CanaryOutcome) -> String {
    match outcome {
        CanaryOutcome::Answered { input_tokens, output_tokens, dispute, .. } => {
            let disputed = dispute.as_ref().map(|code| format!(", disputed: {code}")).unwrap_or_default();
            format!("{input_tokens}+{output_tokens} tokens{disputed}")
        }
        CanaryOutcome::Failed(code) => code.clone(),
    }
}

/// Prints, publishes where asked to, and says by the exit code whether anybody differs.
async fn report(
    settings: &Settings,
    arguments: &AuditArgs,
    buyer: &Buyer,
    model: &str,
    nodes: &[Audited],
    findings: &[NodeFinding],
) -> Result<ExitStatus, CliFailure> {
    let (auditor, published) =
        if arguments.publish { publish(settings, arguments, buyer, findings).await? } else { (None, 0) };
    let name =
        |node: &PublicKey| nodes.iter().find(|audited| audited.node == *node).map(|audited| &*audited.name);
    let output = AuditOutput {
        v: 1,
        model: model.to_owned(),
        canaries: arguments.jobs,
        reference: arguments.reference.map(|node| node.to_hex()),
        auditor_npub: auditor.as_ref().map(npub),
        published,
        nodes: findings.iter().map(|f| AuditRow::new(f, name(&f.node).unwrap_or_default())).collect(),
    };
    if settings.json {
        terminal::print_json(&output)?;
    } else {
        output.print()?;
    }
    if let Some(auditor) = auditor {
        terminal::say(&format!(
            "{published} findings published by {}; a router counts them with [follow] \"{}\" = 1.0",
            npub(&auditor),
            auditor.to_hex()
        ));
    }
    let outliers = findings.iter().filter(|finding| finding.is_outlier()).count();
    if outliers == 0 {
        return Ok(ExitStatus::Success);
    }
    terminal::say(&format!("{outliers} of {} nodes differ from the others", findings.len()));
    Ok(ExitStatus::Verification)
}

/// Signs the findings with the auditor's key; gives the key and how many a relay has taken.
async fn publish(
    settings: &Settings,
    arguments: &AuditArgs,
    buyer: &Buyer,
    findings: &[NodeFinding],
) -> Result<(Option<PublicKey>, u32), CliFailure> {
    let phrase = arguments.passphrase.as_deref();
    let key: SigningKey = key_file::load_or_create(&settings.data, "auditor", phrase, &mut SystemEntropy)
        .map_err(|error| CliFailure::new(ExitStatus::Config, "config", error.to_string()))?;
    let mut published = 0;
    for finding in findings.iter().filter(|finding| arguments.reference != Some(finding.node)) {
        let draft = assertion(finding).draft(&key.public_key(), wall_clock::now_seconds());
        let Ok(draft) = draft else { continue };
        let outcome = buyer.pool().publish_stored(key.sign(draft, &mut SystemEntropy)).await;
        published += u32::from(outcome.acks > 0);
    }
    Ok((Some(key.public_key()), published))
}
