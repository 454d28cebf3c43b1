//! A transfer to a port that the board opens for it.

use super::{
    KatcpClient, KatcpError, Limit,
    connection::{Connection, Wait},
};
use crate::reach::Dial;
use std::{io, time::Duration};

/// How long a board may take to open the port: it starts a process for it.
const OPENING: Duration = Duration::from_secs(10);
/// The pause between two tries to connect.
const RETRY: Duration = Duration::from_millis(100);
/// What one send takes at most.
const SEND: usize = 64 << 10;

/// How a transfer ended short of its end.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// What the board said on its own connection.
    #[error(transparent)]
    Katcp(#[from] KatcpError),
    /// The transfer itself.
    #[error("{sent} of {total} bytes reached port {port} of {host}")]
    Transfer {
        /// The board.
        host: String,
        /// The port that it opened.
        port: u16,
        /// Bytes that left.
        sent: usize,
        /// Bytes to send.
        total: usize,
        /// What ended it.
        source: io::Error,
    },
}

impl KatcpClient {
    /// Sends `data` to `port` of the board, which opens it because of the request `name` that was made before:
    /// one that is replied to after the transfer if `awaited`.
    ///
    /// Tells the caller how it gets on.
    ///
    /// # Errors
    ///
    /// [`PushError`].
    pub fn push(
        &mut self,
        limit: &Limit<'_>,
        port: u16,
        data: &[u8],
        (name, awaited): (&'static str, bool),
    ) -> Result<(), PushError> {
        let host = self.host().to_owned();
        let total = data.len();
        let mut sent = 0;
        let opening = limit.at_most(OPENING);
        let mut connection = loop {
            let dial = Dial::start(&host, port).map(|dial| dial.wait(&opening));
            let result = match dial {
                Ok(Some(stream)) => stream.and_then(Connection::to_send),
                Ok(None) => Err(io::ErrorKind::TimedOut.into()),
                Err(error) => Err(error),
            };
            match result {
                Ok(connection) => break connection,
                Err(source) if opening.is_over() => {
                    return Err(PushError::Transfer { host, port, sent, total, source });
                }
                Err(_) => {}
            }
            // The pause, which a refusal ends at once.
            let pause = opening.at_most(RETRY);
            self.link.wait(false, &pause).map_err(|error| self.lost(error).during(name.into()))?;
            if awaited {
                self.replied(None, name)?;
            } else {
                self.catch_up()?;
            }
        };
        let transfer =
            |source, sent| PushError::Transfer { host: host.clone(), port, sent, total, source };
        while let Some(rest) = data.get(sent..).filter(|rest| !rest.is_empty()) {
            let piece = rest.get(..SEND).unwrap_or(rest);
            match connection.write(piece).map_err(|error| transfer(error, sent))? {
                Some(count) => {
                    sent += count;
                    limit.context().progress(sent as u64, total as u64, "uploading");
                }
                None => {
                    match connection.wait(true, limit).map_err(|error| transfer(error, sent))? {
                        Wait::Ready => {}
                        Wait::Over => return Err(transfer(io::ErrorKind::TimedOut.into(), sent)),
                    }
                }
            }
        }
        connection.end().map_err(|error| transfer(error, sent))
    }
}
