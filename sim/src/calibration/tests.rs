//! Calibration on requests whose truth is known, and on those that were recorded from a real runner.

use super::observation::{
    OBSERVATION_SCHEMA, ObservationError, Observations, ObservedRequest, ObservedRunner,
};
use super::profile_file::{CalibratedRunner, PROFILE_SCHEMA};
use super::replay::replay;
use super::report::CalibrationReport;
use crate::chance::{Chance, Stream};
use crate::runner::{Emit, KvCapacity, RunnerProfile, StepCost};

fn truth() -> CalibratedRunner {
    const MICRO: u64 = 1_000_000_000;
    let cost = StepCost {
        step: 9_000 * MICRO,
        sequence: 5_000 * MICRO,
        context_token: 3 * MICRO,
        prefill_step: 4_000 * MICRO,
        prefill_token: 5_500 * MICRO,
        prefill_pair: MICRO,
    };
    let runner = RunnerProfile {
        slots: 4,
        queue_max: 4_096,
        step_tokens: 2_048,
        cost,
        kv: KvCapacity::PerSlot(2_048),
        emit: Emit::EveryToken,
    };
    CalibratedRunner {
        schema: PROFILE_SCHEMA.to_owned(),
        model: "m".to_owned(),
        machine: "a machine".to_owned(),
        runner,
        overhead_us: 3_000,
        instruction_tokens: 0,
    }
}

/// Requests as this runner would be seen to answer them.
fn observed(truth: &CalibratedRunner, runs: u32, count: u32) -> Observations {
    let mut chance = Chance::new(5, Stream::Workload);
    let mut requests = Vec::new();
    for run in 0..runs {
        let mut arrival_us = 0;
        for _ in 0..count {
            arrival_us += chance.exponential(900_000.0);
            requests.push(ObservedRequest {
                run,
                arrival_us,
                prompt_tokens: chance.between(20, 200),
                cached_tokens: 0,
                output_tokens: chance.between(5, 60),
                ttft_us: 0,
                total_us: 0,
                gap_p50_us: 0,
                gap_p95_us: 0,
                gap_max_us: 0,
            });
        }
    }
    let runner = ObservedRunner {
        schema: OBSERVATION_SCHEMA.to_owned(),
        model: truth.model.clone(),
        machine: truth.machine.clone(),
        recorded_at: 0,
        slots: truth.runner.slots,
        context_tokens: 2_048,
    };
    let mut observations = Observations { runner, requests };
    let times = replay(truth, &observations);
    for (request, time) in observations.requests.iter_mut().zip(times) {
        (request.ttft_us, request.total_us) = (time.ttft_us, time.total_us);
    }
    observations
}

#[test]
fn a_runner_of_known_costs_is_found_again() {
    let observations = observed(&truth(), 4, 25);
    let report = CalibrationReport::new(&observations).unwrap();
    assert!(report.passed, "{:#?}", report.gates);
    let time = &report.held_out.total_ms;
    assert!(time.mape_percent < 5.0 && time.pearson > 0.99, "{time:?}");
    assert_eq!(report, CalibrationReport::new(&observations).unwrap(), "the same file gives the same answer");
}

#[test]
fn a_file_is_read_back_and_says_what_is_wrong_with_it() {
    let observations = observed(&truth(), 1, 3);
    let text = observations.to_lines().unwrap();
    assert_eq!(Observations::parse(&text).unwrap(), observations);
    let other = Observations::parse(&text.replace("/v1", "/v9")).unwrap_err();
    assert!(matches!(other, ObservationError::Schema(_)), "{other}");
    let broken = Observations::parse(&text.replace("ttft_us\":", "ttft_us\":-")).unwrap_err().to_string();
    assert!(broken.starts_with("line 2 is not about a request"), "{broken}");
    assert!(matches!(observations.split(), Err(ObservationError::TooFew(3))));
}
