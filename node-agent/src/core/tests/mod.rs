//! Scripted scenarios for the whole core: a bench plays client, router, runner, disk and clock.

mod admissions;
mod announcements;
mod bench;
mod crashes;
mod random_inputs;
mod sessions;
