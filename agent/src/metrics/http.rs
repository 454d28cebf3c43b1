//! As much of HTTP as it takes to answer a GET: one request a connection, small, and soon over.

use std::{
    io::{self, ErrorKind, Read, Write},
    time::{Duration, Instant},
};

/// Bytes of a request's head.
const HEAD: usize = 8 << 10;

/// Headers of a request.
const HEADERS: usize = 64;

/// How long a caller may take to ask, and to read.
const PATIENCE: Duration = Duration::from_secs(2);

/// The kind of what is for people.
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// What is answered.
pub(super) struct Answer {
    pub(super) status: &'static str,
    pub(super) kind: &'static str,
    pub(super) body: String,
}

/// A stream whose waits can be bounded.
pub(super) trait Stream: Read + Write {
    /// Bounds the next wait.
    fn wait_at_most(&mut self, time: Duration) -> io::Result<()>;
}

impl Stream for std::net::TcpStream {
    fn wait_at_most(&mut self, time: Duration) -> io::Result<()> {
        // Zero would be for ever.
        let time = Some(time.max(Duration::from_millis(1)));
        self.set_read_timeout(time)?;
        self.set_write_timeout(time)
    }
}

/// Reads one request, and answers it with what `page` makes of its path.
pub(super) fn serve(stream: &mut impl Stream, page: impl FnOnce(&str) -> Answer) -> io::Result<()> {
    let end = Instant::now() + PATIENCE;
    let asked = read(stream, end)?;
    let refuse = |status, body: &str| Answer { status, kind: TEXT, body: body.into() };
    let (answer, whole) = match asked {
        Asked::Get(path) => (page(&path), true),
        Asked::Head(path) => (page(&path), false),
        Asked::Other => (refuse("405 Method Not Allowed", "there is: GET\n"), true),
        Asked::TooLong => (refuse("431 Request Header Fields Too Large", "too long\n"), true),
        Asked::Nonsense => (refuse("400 Bad Request", "this is no HTTP request\n"), true),
    };
    let Answer { status, kind, body } = answer;
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    );
    write(stream, head.as_bytes(), end + PATIENCE)?;
    if whole { write(stream, body.as_bytes(), end + PATIENCE) } else { Ok(()) }
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Get(String),
    Head(String),
    Other,
    TooLong,
    Nonsense,
}

fn read(stream: &mut impl Stream, end: Instant) -> io::Result<Asked> {
    let mut bytes = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(ErrorKind::TimedOut, "it took too long to ask"));
        }
        stream.wait_at_most(left)?;
        let more = match stream.read(&mut piece) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(len) => piece.get(..len).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        bytes.extend_from_slice(more);
        if let Some(asked) = parse(&bytes) {
            return Ok(asked);
        }
    }
}

/// What `bytes` ask for, once they are a whole request or cannot become one.
fn parse(bytes: &[u8]) -> Option<Asked> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Partial) if bytes.len() < HEAD => None,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            Some(Asked::TooLong)
        }
        Err(_) => Some(Asked::Nonsense),
        Ok(httparse::Status::Complete(_)) => {
            let path = request.path.unwrap_or_default();
            let path = path.split_once('?').map_or(path, |(path, _)| path).to_owned();
            Some(match request.method {
                Some("GET") => Asked::Get(path),
                Some("HEAD") => Asked::Head(path),
                _ => Asked::Other,
            })
        }
    }
}

fn write(stream: &mut impl Stream, mut bytes: &[u8], end: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(ErrorKind::TimedOut, "it took too long to read"));
        }
        stream.wait_at_most(left)?;
        match stream.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(len) => bytes = bytes.get(len..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_when_it_is_whole() {
        let whole = b"GET /metrics?x=1 HTTP/1.1\r\nHost: here\r\n\r\n";
        for len in 0..whole.len() {
            assert_eq!(parse(&whole[..len]), None, "{len}");
        }
        assert_eq!(parse(whole), Some(Asked::Get("/metrics".into())));
        assert_eq!(parse(b"HEAD / HTTP/1.0\r\n\r\n"), Some(Asked::Head("/".into())));
        assert_eq!(parse(b"POST / HTTP/1.1\r\n\r\n"), Some(Asked::Other));
    }

    #[test]
    fn what_is_no_request_or_has_no_end_is_refused() {
        assert_eq!(parse(b"\x16\x03\x01\x02\x00\x01"), Some(Asked::Nonsense));
        assert_eq!(parse(&[b'A'; HEAD]), Some(Asked::TooLong));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS + 1));
        assert_eq!(parse(many.as_bytes()), Some(Asked::TooLong));
    }
}
