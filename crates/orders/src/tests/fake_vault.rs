//! HashiCorp Vault as far as we use it: a KV v2 engine behind TLS, tokens, a seal, and faults on
//! order. By the engine's source: it checks `cas`, marks what it destroys before it removes it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hansa_node::devca::{DevCa, Leaf};
use hansa_node::env::Env;
use hansa_node::env::test::seeded;
use hansa_node::net::TlsNet;
use hansa_node::tasks::{OnError, Tasks};
use hansa_node::tls::Identity;
use hansa_types::time::WallTime;
use hansa_wal::fs::RealFs;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::config::{Auth, Hashicorp};
use crate::vault::HashicorpVault;

pub const SECRET: &str = "hansa/eu-west";
pub const NAMESPACE: &str = "shop";

/// What goes wrong with the next request of a call.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Status(u16),
    /// Neither done nor answered.
    Hang,
    /// Done, and the answer lost.
    Lost,
    /// Somebody else writes first.
    Overtaken,
    /// Marked as destroyed, and not removed.
    Marked,
}

#[derive(Default)]
pub struct State {
    pub sealed: bool,
    /// Its storage takes nothing.
    pub full: bool,
    pub tokens: BTreeSet<String>,
    /// What a service account shows, and the number of its logins.
    pub jwt: String,
    pub logins: u64,
    /// By version: whether it is marked as destroyed, and its text until it is removed.
    pub versions: BTreeMap<u64, (bool, Option<String>)>,
    /// By method and engine's path: `POST destroy`.
    pub faults: BTreeMap<&'static str, VecDeque<Fault>>,
    pub asked: Vec<String>,
}

impl State {
    /// Every text that is still there, the newest last.
    pub fn texts(&self) -> Vec<&String> {
        self.versions.values().filter_map(|(_, text)| text.as_ref()).collect()
    }

    fn newest(&self) -> u64 {
        self.versions.keys().last().copied().unwrap_or(0)
    }

    fn add(&mut self, text: String) -> u64 {
        let version = self.newest() + 1;
        self.versions.insert(version, (false, Some(text)));
        version
    }

    fn read(&self) -> (u16, Value) {
        match self.versions.last_key_value() {
            None => (404, json!({ "errors": [] })),
            Some((version, (true, _))) => {
                let metadata = json!({ "version": version, "destroyed": true });
                (404, json!({ "data": { "data": null, "metadata": metadata } }))
            }
            Some((version, (false, text))) => {
                let metadata = json!({ "version": version, "deletion_time": "" });
                (200, json!({ "data": { "data": { "ring": text }, "metadata": metadata } }))
            }
        }
    }

    fn write(&mut self, said: &Value) -> (u16, Value) {
        if said["options"]["cas"].as_u64() != Some(self.newest()) {
            // It echoes what it was sent, as nobody should.
            let why = "check-and-set parameter did not match the current version";
            return (400, json!({ "errors": [why, said.to_string()] }));
        }
        let version = self.add(said["data"]["ring"].as_str().unwrap().to_owned());
        (200, json!({ "data": { "version": version }, "warnings": null }))
    }

    fn history(&self) -> (u16, Value) {
        let mark = |(version, (destroyed, _)): (&u64, &(bool, Option<String>))| {
            (version.to_string(), json!({ "destroyed": destroyed, "deletion_time": "" }))
        };
        let versions: serde_json::Map<_, _> = self.versions.iter().map(mark).collect();
        (200, json!({ "data": { "versions": versions } }))
    }

    fn destroy(&mut self, said: &Value, removes: bool) -> (u16, Value) {
        for version in said["versions"].as_array().unwrap() {
            let Some(found) = self.versions.get_mut(&version.as_u64().unwrap()) else { continue };
            *found = (true, found.1.take().filter(|_| !removes));
        }
        (if removes { 204 } else { 500 }, Value::Null)
    }

    fn login(&mut self, said: &Value) -> (u16, Value) {
        if said["jwt"].as_str() != Some(&self.jwt) || said["role"] != "hansa" {
            return (403, json!({ "errors": ["permission denied", said.to_string()] }));
        }
        self.logins += 1;
        let token = format!("hvs.login-{}", self.logins);
        self.tokens.insert(token.clone());
        (200, json!({ "auth": { "client_token": token, "lease_duration": 3_600 } }))
    }

    /// Whether to answer, and what.
    fn answer(&mut self, asked: &Asked) -> Option<(u16, Value)> {
        let call = format!("{} {}", asked.method, asked.engine);
        self.asked.push(call.clone());
        let fault = self.faults.get_mut(call.as_str()).and_then(VecDeque::pop_front);
        match fault {
            _ if self.sealed => return Some((503, json!({ "errors": ["Vault is sealed"] }))),
            _ if self.full && call == "POST data" => return Some((500, Value::Null)),
            Some(Fault::Status(status)) => return Some((status, Value::Null)),
            Some(Fault::Hang) => return None,
            Some(Fault::Overtaken) => {
                let text = self.versions.values().last().unwrap().1.clone().unwrap();
                self.add(text);
            }
            Some(Fault::Marked) => return Some(self.destroy(&asked.said, false)),
            Some(Fault::Lost) | None => {}
        }
        let known = self.tokens.contains(&asked.token) && asked.namespace == NAMESPACE;
        let answer = match call.as_str() {
            "POST login" => self.login(&asked.said),
            _ if !known => (403, json!({ "errors": ["permission denied", asked.token] })),
            "GET data" => self.read(),
            "POST data" => self.write(&asked.said),
            "GET metadata" => self.history(),
            "POST destroy" => self.destroy(&asked.said, true),
            _ => (404, json!({ "errors": ["no handler for route"] })),
        };
        (!matches!(fault, Some(Fault::Lost))).then_some(answer)
    }
}

struct Asked {
    method: Method,
    engine: String,
    token: String,
    namespace: String,
    said: Value,
}

impl Asked {
    async fn of(request: Request<Incoming>) -> Self {
        let (head, body) = request.into_parts();
        let header = |name: &str| {
            head.headers.get(name).map_or_else(String::new, |v| v.to_str().unwrap().to_owned())
        };
        assert_eq!(header("x-vault-request"), "true");
        let path = head.uri.path();
        let engine = match path.strip_prefix("/v1/secret/") {
            Some(rest) => rest.strip_suffix(SECRET).map(|engine| engine.trim_end_matches('/')),
            None => path.strip_prefix("/v1/auth/kubernetes/"),
        };
        let body = body.collect().await.unwrap().to_bytes();
        Self {
            method: head.method.clone(),
            engine: engine.unwrap_or("nothing").to_owned(),
            token: header("x-vault-token"),
            namespace: header("x-vault-namespace"),
            said: serde_json::from_slice(&body).unwrap_or_default(),
        }
    }
}

/// A server, a folder for what its clients are told, and their certificates.
pub struct FakeVault {
    pub state: Arc<Mutex<State>>,
    pub folder: PathBuf,
    ca: Arc<DevCa>,
    addr: SocketAddr,
    tasks: Tasks,
}

impl FakeVault {
    pub async fn start(folder: &Path, ca: Arc<DevCa>) -> Self {
        let state = State { tokens: ["hvs.first".to_owned()].into(), ..State::default() };
        let state = Arc::new(Mutex::new(State { jwt: "jwt-1".to_owned(), ..state }));
        fs::write(folder.join("token"), "hvs.first\n").unwrap();
        fs::write(folder.join("jwt"), "jwt-1").unwrap();
        let pair = ca.mint(&Leaf::no_uri()).unwrap();
        let cert = CertificateDer::from_pem_slice(pair.cert.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let tls = tls.unwrap().with_no_client_auth().with_single_cert(vec![cert], key).unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, tasks) = (socket.local_addr().unwrap(), Tasks::new("fake-vault"));
        let (serving, served) = (tasks.clone(), state.clone());
        tasks.spawn("fake-vault", OnError::Log, async move {
            let tls = TlsAcceptor::from(Arc::new(tls));
            while let Ok((stream, _)) = socket.accept().await {
                let (tls, state) = (tls.clone(), served.clone());
                serving.spawn("fake-vault-connection", OnError::Log, async move {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let serve = service_fn(|request| serve(state.clone(), request));
                    let _ =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), serve).await;
                });
            }
        });
        Self { state, folder: folder.to_owned(), ca, addr, tasks }
    }

    pub fn config(&self) -> Hashicorp {
        Hashicorp {
            address: format!("https://localhost:{}", self.addr.port()),
            ca: self.ca.ca_file(),
            mount: "secret".to_owned(),
            path: SECRET.to_owned(),
            namespace: Some(NAMESPACE.to_owned()),
            timeout_ms: 2_000,
            auth: Auth::Token { file: self.folder.join("token") },
        }
    }

    /// The vault as a node has it.
    pub fn vault(&self, node: u64, cfg: &Hashicorp) -> HashicorpVault {
        let (env, _) = seeded(&format!("node-{node}"), node, WallTime(1));
        self.vault_in(&env, cfg)
    }

    fn vault_in(&self, env: &Env, cfg: &Hashicorp) -> HashicorpVault {
        let identity = self.ca.node(&"eu-west".parse().unwrap(), "eu-west-1").unwrap();
        let net = TlsNet::new(Identity::load(identity).unwrap(), env.clock.clone());
        HashicorpVault::new(cfg, env, Arc::new(RealFs), Arc::new(net))
    }

    pub fn fault(&self, call: &'static str, faults: &[Fault]) {
        self.state.lock().faults.entry(call).or_default().extend(faults);
    }

    pub fn asked(&self, call: &str) -> usize {
        self.state.lock().asked.iter().filter(|asked| *asked == call).count()
    }
}

impl Drop for FakeVault {
    fn drop(&mut self) {
        self.tasks.stop_token().cancel();
    }
}

async fn serve(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> io::Result<Response<Full<Bytes>>> {
    let asked = Asked::of(request).await;
    let (hangs, answer) = {
        let mut state = state.lock();
        let call = format!("{} {}", asked.method, asked.engine);
        let next = state.faults.get(call.as_str()).and_then(|faults| faults.front());
        (matches!(next, Some(Fault::Hang)), state.answer(&asked))
    };
    if hangs {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let (status, said) = answer.ok_or(io::ErrorKind::ConnectionReset)?;
    let body = if said.is_null() { Bytes::new() } else { said.to_string().into() };
    Ok(Response::builder().status(status).body(Full::new(body)).unwrap())
}
