//! Logs, traces and metrics of a process; set up once, before anything else starts.

pub mod probes;

#[cfg(test)]
mod tests;

use std::io::IsTerminal as _;
use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing::Subscriber;
use tracing_subscriber::filter::{EnvFilter, ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer, fmt};

use crate::layers::trace;

/// Upper bounds of duration histograms: a commit is a millisecond, a saga tens, a deadline seconds.
const SECONDS_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

/// How a process reports on itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub log_format: LogFormat,
    /// `tracing` directives: `info`, or `warn,hansa_orders=debug`.
    pub log_filter: String,
    /// OTLP/gRPC collector, `http://host:4317`; no traces leave the process without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp_endpoint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self { log_format: LogFormat::Text, log_filter: "info".to_owned(), otlp_endpoint: None }
    }
}

#[derive(Debug, Error)]
pub enum Error {
    #[error("log_filter = {filter:?}: {source}")]
    Filter { filter: String, source: ParseError },
    #[error("otlp_endpoint: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    #[error("{0}")]
    AlreadyStarted(#[from] TryInitError),
    #[error("metrics: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
}

/// Keeps the exporter; [`Telemetry::stop`] sends what it still holds.
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Installs the process's log subscriber and, with an endpoint, its trace exporter.
    ///
    /// Must be called inside a tokio runtime when an endpoint is set. `service` names the process
    /// in traces.
    pub fn start(config: &Config, service: &str) -> Result<Self, Error> {
        let filter = EnvFilter::try_new(&config.log_filter)
            .map_err(|source| Error::Filter { filter: config.log_filter.clone(), source })?;
        let traces = match &config.otlp_endpoint {
            Some(endpoint) => Some(exporter(endpoint, service)?),
            None => None,
        };
        let spans = traces.as_ref().map(call_spans);
        tracing_subscriber::registry()
            .with(spans)
            .with(log(config.log_format).with_filter(filter))
            .try_init()?;
        Ok(Self { traces })
    }

    /// Sends the spans still held, for at most `bound`.
    #[expect(clippy::disallowed_methods, reason = "a process's end, which no simulation has")]
    pub async fn stop(self, bound: Duration) {
        let Some(traces) = self.traces else { return };
        // The provider waits for its own thread, so this one must not be a runtime worker.
        let flushed = tokio::task::spawn_blocking(move || traces.shutdown_with_timeout(bound));
        match tokio::time::timeout(bound, flushed).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "last spans not sent"),
            Ok(Err(_)) | Err(_) => tracing::warn!("last spans not sent in time"),
        }
    }
}

fn exporter(endpoint: &str, service: &str) -> Result<SdkTracerProvider, Error> {
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let spans = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(Duration::from_secs(5))
        .build()?;
    let resource = Resource::builder().with_service_name(service.to_owned()).build();
    Ok(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(spans).build())
}

/// Call spans only: logs go to the log, and personal data to neither.
fn call_spans<S>(traces: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let calls = Targets::new().with_target(trace::TARGET, tracing::Level::DEBUG);
    tracing_opentelemetry::layer().with_tracer(traces.tracer("hansa")).with_filter(calls)
}

fn log<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let colour = std::io::stderr().is_terminal();
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(colour);
    match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    }
}

/// The process's metrics, installed by the first call; every node in it shares them.
pub fn metrics() -> Result<PrometheusHandle, Error> {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    let seconds = Matcher::Suffix("_seconds".to_owned());
    let builder = PrometheusBuilder::new().set_buckets_for_metric(seconds, &SECONDS_BUCKETS)?;
    let install = || {
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        // Fails only if a host program has its own recorder; then our page stays empty.
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("metrics are recorded elsewhere");
        }
        handle
    };
    Ok(HANDLE.get_or_init(install).clone())
}
