//! What goes into every job open of one job, whichever node it is opened at.

use fedai_protocol::job_open::{JobEndpoint, RequestBody};
use fedai_protocol::sealed_session::base64_encode;
use fedai_protocol::{Entropy, UnixSeconds, chunking};

use crate::core::job_spec::JobSpec;

/// The request and what belongs to it.
pub(crate) struct JobWords {
    pub(crate) endpoint: JobEndpoint,
    pub(crate) request: String,
    is_bulky: bool,
    pub(crate) expires_at: UnixSeconds,
}

impl JobWords {
    /// Those of this job.
    pub(crate) fn of(spec: &JobSpec) -> Self {
        Self {
            endpoint: spec.endpoint,
            is_bulky: spec.is_bulky(),
            expires_at: spec.expires_at(),
            request: spec.request.clone(),
        }
    }

    /// The request as it travels, and the pieces that follow the open where it is too large for it.
    pub(crate) fn body(&self, entropy: &mut impl Entropy) -> (RequestBody, Vec<String>) {
        if self.is_bulky
            && let Ok((manifest, pieces)) = chunking::split(self.request.as_bytes(), entropy)
        {
            let upload = pieces.iter().map(|piece| base64_encode(piece)).collect();
            return (RequestBody::Chunked(manifest), upload);
        }
        (RequestBody::Inline(self.request.clone()), Vec::new())
    }
}
