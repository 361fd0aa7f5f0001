//! The order in which the shell performs what the core asks for at once.

use fedai_protocol::session_frame::FrameBody;

use crate::core::Action;

/// The runner computes while the word that the job was taken is signed.
pub(super) fn runner_first(actions: &mut [Action]) {
    let Some(start) = actions.iter().position(|action| matches!(action, Action::StartRunner { .. })) else {
        return;
    };
    let before = actions.get(..start).unwrap_or_default();
    let is_opening = |action: &Action| match action {
        Action::OpenSession { .. } => true,
        Action::Send { frame, .. } => matches!(frame.body, FrameBody::Accept(_)),
        _ => false,
    };
    // Past the session's key and the `accept` only: everything else keeps the order that the core gave it.
    let from = before.iter().rposition(|action| !is_opening(action)).map_or(0, |at| at.saturating_add(1));
    if let Some(part) = actions.get_mut(from..=start) {
        part.rotate_right(1);
    }
}
