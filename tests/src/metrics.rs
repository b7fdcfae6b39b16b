//! What a node counts, read from its metrics port.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Longest that a node may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// The sum of a metric over its labels; `None` when the node does not answer or does not have it.
pub async fn sum(at: SocketAddr, name: &str) -> Option<f64> {
    page(at).await?.sum(name)
}

/// All that a node counts, at one moment; `None` when it does not answer.
pub async fn page(at: SocketAddr) -> Option<Page> {
    let page = tokio::time::timeout(ANSWER_MAX, get(at, "/metrics")).await.ok()?.ok()?;
    Some(Page(page))
}

/// A node's metrics as it wrote them.
#[derive(Clone, Debug, Default)]
pub struct Page(pub String);

impl Page {
    /// The sum of a metric over its labels; `None` when the node does not have it.
    #[must_use]
    pub fn sum(&self, name: &str) -> Option<f64> {
        let values: Vec<f64> = self.values(name).map(|(_, value)| value).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// Labels as written, and the value.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.lines().filter_map(move |line| value_of(line, name))
    }
}

fn value_of<'a>(line: &'a str, name: &str) -> Option<(&'a str, f64)> {
    let rest = line.strip_prefix(name)?;
    let (labels, value) = rest.rsplit_once(' ')?;
    (rest.starts_with('{') || rest.starts_with(' ')).then(|| Some((labels, value.parse().ok()?)))?
}

/// One HTTP request, its whole answer.
pub async fn get(at: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = tokio::net::TcpStream::connect(at).await?;
    let ask = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
