//! A send under way, for the rigs of engines that really send.

use std::io::{PipeReader, PipeWriter, Read};
use std::thread::JoinHandle;

use terrarium_zfs::BeginRecord;

/// A send that has begun and gets no further than the pipe takes it; dropping it breaks it off and waits for its end.
#[derive(Debug)]
pub struct Sending {
    output: Option<PipeReader>,
    thread: Option<JoinHandle<()>>,
}

impl Sending {
    /// Lets `send` write to a pipe in another thread, and waits for the stream's first record.
    ///
    /// # Panics
    /// If the send does not begin.
    pub fn begin(send: impl FnOnce(PipeWriter) + Send + 'static) -> Self {
        let (mut output, input) = std::io::pipe().expect("a pipe");
        let thread = std::thread::spawn(move || send(input));
        let mut begun = [0; BeginRecord::SIZE];
        output.read_exact(&mut begun).expect("the send has begun");
        Self {
            output: Some(output),
            thread: Some(thread),
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        drop(self.output.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the send has ended");
        }
    }
}
