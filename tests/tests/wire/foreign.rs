//! A foreign client: Python's stock grpcio, with stubs made from `proto/` on the spot.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use hansa_tests::{folder, local};

#[tokio::test(flavor = "multi_thread")]
async fn stock_python_places_reads_and_watches_an_order() {
    if !python_has_grpc() {
        // Straight to stderr: the test harness hides what `eprintln!` says of a test that passes.
        let why = "SKIPPED: this python3 has no grpcio and grpcio-tools; `.ci/run` installs them";
        writeln!(std::io::stderr(), "{why}").expect("stderr");
        return;
    }
    let league = local::league("wire");
    league.stock("eu-west", "PYTHON-1", 10).await;
    let stubs = folder::fresh("python-stubs");
    make_stubs(&stubs);

    let client = &league.profile.clients["storefront"];
    let script = root().join("tests/foreign/client.py");
    let (cert, key) = (client.cert.clone(), client.key.clone());
    let ca = league.profile.ca.clone();
    let endpoint = league.endpoint("eu-west");
    #[expect(clippy::disallowed_methods, reason = "a program that the test waits for")]
    let run = tokio::task::spawn_blocking(move || {
        let mut python = Command::new("python3");
        python.arg(script).arg(stubs).arg(endpoint).args([ca, cert, key]).arg("PYTHON-1");
        python.output().expect("python runs")
    });
    let output = run.await.expect("python ends");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), &output.stderr);
    assert!(output.status.success(), "{out}{}", String::from_utf8_lossy(err));
    for step in ["placed", "replayed", "read", "watched", "refused"] {
        assert!(out.lines().any(|line| line.starts_with(step)), "no `{step}` in {out}");
    }
}

fn python_has_grpc() -> bool {
    let import = Command::new("python3").args(["-c", "import grpc, grpc_tools"]).output();
    import.is_ok_and(|output| output.status.success())
}

fn make_stubs(into: &Path) {
    let proto = root().join("proto");
    let mut protoc = Command::new("python3");
    protoc.args(["-m", "grpc_tools.protoc"]).arg("-I").arg(&proto);
    protoc.arg(format!("--python_out={}", into.display()));
    protoc.arg(format!("--grpc_python_out={}", into.display()));
    protoc.args(protos(&proto));
    let output = protoc.output().expect("protoc runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn protos(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("proto/ is there") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            found.extend(protos(&path));
        } else if path.extension().is_some_and(|ext| ext == "proto") {
            found.push(path);
        }
    }
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").into()
}
