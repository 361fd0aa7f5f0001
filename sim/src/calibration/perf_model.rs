//! Costs of a step fitted from a table of measurements: one row a run, with the sizes of its prompts, its batch and its
//! answers, and the times of prompt and token in milliseconds (the form of Splitwise's `perf_model.csv`).
//!
//! Every fourth configuration of a machine, in order of size, is held out, and the errors are those of the held-out
//! ones. Runs that do not fit the memory say nothing about the costs: their batch is not what their row says.

use std::collections::BTreeMap;

use serde::Serialize;

use super::least_squares::{dot, fit};
use crate::runner::StepCost;
use crate::statistics::quantile::{nearest_rank, sorted};
use crate::statistics::significant;

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PerfModelError {
    /// It lacks a column.
    #[error(
        "the table has no column `{0}`\nhint: its first line names the columns, as Splitwise's perf_model.csv does"
    )]
    Column(&'static str),
    /// A value is not a number.
    #[error("line {line}: `{column}` is not a number")]
    Number {
        /// Line, from 1.
        line: usize,
        /// Column.
        column: &'static str,
    },
    /// There is nothing in it.
    #[error("no machine in the table has enough configurations to fit")]
    Empty,
}

/// What was fitted for one machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MachineFit {
    /// Model.
    pub model: String,
    /// Hardware, by the name that the table gives it.
    pub hardware: String,
    /// Devices that share each layer.
    pub tensor_parallel: u32,
    /// Costs of a step, in femtoseconds.
    pub cost: StepCost,
    /// Tokens that fit the memory beside the weights.
    pub kv_tokens: u64,
    /// Configurations fitted.
    pub fitted: usize,
    /// Configurations held out.
    pub held_out: usize,
    /// Configurations that do not fit the memory.
    pub kv_limited: usize,
    /// Error of the time of a prompt, on those held out.
    pub prefill_error: RelativeError,
    /// Error of the time of a token, on those held out.
    pub decode_error: RelativeError,
    /// Error of the time of a token with the batch that fits, on those that do not fit.
    pub kv_limited_decode_error: Option<RelativeError>,
}

/// Absolute errors in percent of what was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RelativeError {
    /// Half are below.
    pub median_percent: f64,
    /// Nine of ten are below.
    pub p90_percent: f64,
}

impl RelativeError {
    /// Of predictions beside what was measured; none of none.
    #[must_use]
    pub fn of(pairs: impl Iterator<Item = (f64, f64)>) -> Option<Self> {
        let errors = sorted(pairs.map(|(predicted, seen)| 100.0 * (predicted / seen - 1.0).abs()).collect());
        let at = |permille| nearest_rank(&errors, permille).map(|error| significant(error, 4));
        Some(Self { median_percent: at(500)?, p90_percent: at(900)? })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Configuration {
    prompt: u64,
    batch: u64,
    output: u64,
}

type Machine = (String, String, u32);

/// Fits every machine of a table. Power-capped ones are left out: their times of tokens repeat those without a cap.
pub fn fit_table(text: &str) -> Result<Vec<MachineFit>, PerfModelError> {
    let machines = parse(text)?;
    let fits: Vec<MachineFit> = machines
        .into_iter()
        .filter(|((_, hardware, _), _)| !hardware.ends_with("-pcap"))
        .filter_map(|(machine, runs)| fit_machine(machine, &runs))
        .collect();
    if fits.is_empty() { Err(PerfModelError::Empty) } else { Ok(fits) }
}

type Runs = BTreeMap<Configuration, (Vec<f64>, Vec<f64>)>;

fn parse(text: &str) -> Result<BTreeMap<Machine, Runs>, PerfModelError> {
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split(',').map(str::trim).collect();
    let find = |name: &'static str| {
        header.iter().position(|column| *column == name).ok_or(PerfModelError::Column(name))
    };
    let (model, hardware) = (find("model")?, find("hardware")?);
    let mut numbers = [("prompt_size", 0), ("batch_size", 0), ("token_size", 0), ("tensor_parallel", 0)]
        .map(|(name, _)| (name, find(name)));
    let times = [("prompt_time", find("prompt_time")?), ("token_time", find("token_time")?)];
    let mut machines: BTreeMap<Machine, Runs> = BTreeMap::new();
    for (line, row) in (2..).zip(lines) {
        let fields: Vec<&str> = row.split(',').map(str::trim).collect();
        let read = |column: &'static str, at: usize| -> Result<f64, PerfModelError> {
            let field = fields.get(at).and_then(|field| field.parse::<f64>().ok());
            field
                .filter(|value| value.is_finite() && *value > 0.0)
                .ok_or(PerfModelError::Number { line, column })
        };
        let mut sizes = [0_u64; 4];
        for (size, (name, at)) in sizes.iter_mut().zip(&mut numbers) {
            let at = at.as_ref().map_err(|_| PerfModelError::Column(name))?;
            *size = read(name, *at)?.round() as u64;
        }
        let [prompt, batch, output, tensor_parallel] = sizes;
        let name = |at: usize| fields.get(at).copied().unwrap_or_default().to_owned();
        let machine = (name(model), name(hardware), u32::try_from(tensor_parallel).unwrap_or(u32::MAX));
        let run =
            machines.entry(machine).or_default().entry(Configuration { prompt, batch, output }).or_default();
        let [(prompt_time, prompt_at), (token_time, token_at)] = times;
        run.0.push(read(prompt_time, prompt_at)?);
        run.1.push(read(token_time, token_at)?);
    }
    Ok(machines)
}

fn fit_machine((model, hardware, tensor_parallel): Machine, runs: &Runs) -> Option<MachineFit> {
    let kv_tokens = kv_tokens(&model, &hardware, tensor_parallel);
    let median = |values: &[f64]| nearest_rank(&sorted(values.to_vec()), 500).unwrap_or(0.0);
    let fits_memory = |c: &Configuration| c.batch * (c.prompt + c.output) <= kv_tokens;
    let (mut fitted, mut held_out, mut limited) = (Vec::new(), Vec::new(), Vec::new());
    for (number, (configuration, (prompts, tokens))) in runs.iter().enumerate() {
        let point = (*configuration, median(prompts), median(tokens));
        match (fits_memory(configuration), number % HELD_OUT_EVERY == 1) {
            (false, _) => limited.push(point),
            (true, true) => held_out.push(point),
            (true, false) => fitted.push(point),
        }
    }
    let rows =
        |terms: fn(&Configuration) -> [f64; 3]| fitted.iter().map(|(c, ..)| terms(c)).collect::<Vec<_>>();
    let prefill =
        fit(&rows(prefill_terms), &fitted.iter().map(|(_, prompt, _)| *prompt).collect::<Vec<_>>())?;
    let decode = fit(&rows(decode_terms), &fitted.iter().map(|(.., token)| *token).collect::<Vec<_>>())?;
    let prefill_error =
        RelativeError::of(held_out.iter().map(|(c, prompt, _)| (dot(&prefill_terms(c), &prefill), *prompt)))?;
    let decode_error =
        RelativeError::of(held_out.iter().map(|(c, _, token)| (dot(&decode_terms(c), &decode), *token)))?;
    let of_limited = limited.iter().map(|(c, _, token)| {
        let batch = (kv_tokens / (c.prompt + c.output)).clamp(1, c.batch);
        (dot(&decode_terms(&Configuration { batch, ..*c }), &decode), *token)
    });
    let kv_limited_decode_error = RelativeError::of(of_limited);
    let ([step, sequence, context], [prefill_step, prefill_token, prefill_pair]) = (decode, prefill);
    let femtos = |millis: f64| (millis * 1e12).round() as u64;
    let cost = StepCost {
        step: femtos(step),
        sequence: femtos(sequence),
        context_token: femtos(context),
        prefill_step: femtos(prefill_step),
        prefill_token: femtos(prefill_token),
        prefill_pair: femtos(prefill_pair),
    };
    let (held_out, kv_limited, fitted) = (held_out.len(), limited.len(), fitted.len());
    Some(MachineFit {
        model,
        hardware,
        tensor_parallel,
        cost,
        kv_tokens,
        fitted,
        held_out,
        kv_limited,
        prefill_error,
        decode_error,
        kv_limited_decode_error,
    })
}

/// Step, sequences, tokens in their contexts: on the average of an answer.
fn decode_terms(configuration: &Configuration) -> [f64; 3] {
    let Configuration { prompt, batch, output } = *configuration;
    let batch = batch as f64;
    [1.0, batch, batch * (prompt as f64 + output as f64 / 2.0)]
}

/// Steps, prompt tokens, pairs of them.
fn prefill_terms(configuration: &Configuration) -> [f64; 3] {
    let Configuration { prompt, batch, .. } = *configuration;
    let tokens = batch * prompt;
    [tokens.div_ceil(STEP_TOKENS) as f64, tokens as f64, batch as f64 * prompt as f64 * prompt as f64 / 2.0]
}

/// What the memory leaves for tokens: nine tenths of it, as vLLM takes by default, without the weights.
fn kv_tokens(model: &str, hardware: &str, tensor_parallel: u32) -> u64 {
    let known = MODELS.iter().find(|(name, ..)| *name == model);
    let gigabytes = hardware.split('-').find_map(|part| part.strip_suffix("gb")?.parse::<u64>().ok());
    let (Some((_, weights, per_token)), Some(gigabytes)) = (known, gigabytes) else { return u64::MAX };
    let memory = gigabytes * 900_000_000 * u64::from(tensor_parallel);
    memory.saturating_sub(*weights) / per_token
}

/// Bytes of weights, and of keys and values for one token, at 16 bits: layers x heads x width x two x two.
const MODELS: [(&str, u64, u64); 2] =
    [("llama2-70b", 138_000_000_000, 80 * 8 * 128 * 4), ("bloom-176b", 352_000_000_000, 70 * 112 * 128 * 4)];
/// One configuration of so many is held out.
const HELD_OUT_EVERY: usize = 4;
/// Prompt tokens that the measured servers took in at once.
pub const STEP_TOKENS: u64 = 2_048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_measurements_give_the_errors_that_are_documented() {
        let fits = fit_table(include_str!("../../data/splitwise_medians.csv")).unwrap();
        assert_eq!(fits.len(), 8);
        for fit in &fits {
            let name = format!("{} on {} x {}", fit.model, fit.tensor_parallel, fit.hardware);
            assert!(fit.decode_error.median_percent < 4.0, "{name}: {:?}", fit.decode_error);
            assert!(fit.decode_error.p90_percent < 10.0, "{name}: {:?}", fit.decode_error);
            assert!(fit.prefill_error.median_percent < 15.0, "{name}: {:?}", fit.prefill_error);
            assert!(fit.prefill_error.p90_percent < 32.0, "{name}: {:?}", fit.prefill_error);
            let tight = fit.tensor_parallel == 2;
            assert_eq!(fit.kv_limited > 0, tight, "{name}: two devices hold the weights and little else");
            assert!(
                fit.kv_limited_decode_error.is_none_or(|error| error.p90_percent < 20.0),
                "{name}: {fit:?}"
            );
        }
    }

    #[test]
    fn a_table_says_what_it_lacks() {
        let no_column = fit_table("model,hardware,prompt_size\n").unwrap_err().to_string();
        assert!(no_column.starts_with("the table has no column `prompt_time`"), "{no_column}");
        let header =
            "model,hardware,prompt_size,batch_size,token_size,prompt_time,token_time,tensor_parallel\n";
        let no_number = fit_table(&format!("{header}m,h,1,1,x,1,1,1\n")).unwrap_err().to_string();
        assert_eq!(no_number, "line 2: `token_size` is not a number");
        assert!(matches!(fit_table(header), Err(PerfModelError::Empty)));
    }
}
