//! What a node counts, read from its metrics port.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Longest that a node may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// The sum of a metric over its labels; `None` when the node does not answer or does not have it.
pub async fn sum(at: SocketAddr, name: &str) -> Option<f64> {
    let page = tokio::time::timeout(ANSWER_MAX, get(at, "/metrics")).await.ok()?.ok()?;
    let values: Vec<f64> = page.lines().filter_map(|line| value_of(line, name)).collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

fn value_of(line: &str, name: &str) -> Option<f64> {
    let rest = line.strip_prefix(name)?;
    let (_, value) = rest.rsplit_once(' ')?;
    (rest.starts_with('{') || rest.starts_with(' ')).then(|| value.parse().ok())?
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
