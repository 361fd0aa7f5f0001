//! One formula for one candidate or for eight at once: [`Number`] is what both can do, [`Lanes`] are the eight.
//!
//! Lane by lane the operations are those of `f32`, so a candidate gets the same bits either way, on any machine.

use core::ops::{Add, Div, Mul, Sub};

/// Candidates that are judged at once.
pub(super) const LANES: usize = 8;

/// What the formulas of the scheduler need.
pub(super) trait Number:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// The same value in every lane.
    fn of(value: f32) -> Self;
    /// The larger one.
    fn at_least(self, other: Self) -> Self;
    /// The smaller one.
    fn at_most(self, other: Self) -> Self;
}

impl Number for f32 {
    #[inline]
    fn of(value: f32) -> Self {
        value
    }

    #[inline]
    fn at_least(self, other: Self) -> Self {
        if self > other { self } else { other }
    }

    #[inline]
    fn at_most(self, other: Self) -> Self {
        if self < other { self } else { other }
    }
}

/// Eight numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Lanes(pub(super) [f32; LANES]);

impl Lanes {
    #[inline]
    fn with(mut self, other: Self, operation: impl Fn(f32, f32) -> f32) -> Self {
        for (one, other) in self.0.iter_mut().zip(other.0) {
            *one = operation(*one, other);
        }
        self
    }

    /// The number in a lane.
    #[inline]
    pub(super) fn get(&self, lane: usize) -> f32 {
        self.0.get(lane).copied().unwrap_or_default()
    }

    /// Sets the number in a lane.
    #[inline]
    pub(super) fn set(&mut self, lane: usize, value: f32) {
        if let Some(slot) = self.0.get_mut(lane) {
            *slot = value;
        }
    }

    /// The sum, always in the same order.
    #[inline]
    pub(super) fn sum(&self) -> f32 {
        let [a, b, c, d, e, f, g, h] = self.0;
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }
}

impl Number for Lanes {
    #[inline]
    fn of(value: f32) -> Self {
        Self([value; LANES])
    }

    #[inline]
    fn at_least(self, other: Self) -> Self {
        self.with(other, f32::at_least)
    }

    #[inline]
    fn at_most(self, other: Self) -> Self {
        self.with(other, f32::at_most)
    }
}

impl Add for Lanes {
    type Output = Self;

    #[inline]
    fn add(self, other: Self) -> Self {
        self.with(other, |a, b| a + b)
    }
}

impl Sub for Lanes {
    type Output = Self;

    #[inline]
    fn sub(self, other: Self) -> Self {
        self.with(other, |a, b| a - b)
    }
}

impl Mul for Lanes {
    type Output = Self;

    #[inline]
    fn mul(self, other: Self) -> Self {
        self.with(other, |a, b| a * b)
    }
}

impl Div for Lanes {
    type Output = Self;

    #[inline]
    fn div(self, other: Self) -> Self {
        self.with(other, |a, b| a / b)
    }
}
