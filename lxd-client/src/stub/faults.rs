//! What a test wants to go wrong.

/// Something that goes wrong once.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) method: String,
    pub(super) path_contains: String,
    pub(super) outcome: Outcome,
}

#[derive(Debug)]
pub(super) enum Outcome {
    Refuse { status: u16, message: String },
    FailOperation(String),
    DropReply,
}

impl Fault {
    pub(super) fn matches(&self, method: &str, address: &str) -> bool {
        self.method == method && address.contains(&self.path_contains)
    }
}

/// What of that concerns one request.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    pub(super) refuse: Option<(u16, String)>,
    pub(super) fail_operation: Option<String>,
    pub(super) drop_reply: bool,
    pub(super) delay: std::time::Duration,
}
