//! Everything that a node reaches for, given to it from outside.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
pub use hansa_ledger::config::Views;
use hansa_node::config::Text;
use hansa_node::env::Env;
use hansa_node::net::{Net, TlsNet};
use hansa_node::tasks::OnError;
use hansa_node::tls::{Files, Identity};
use hansa_orders::provider::Provider;
use hansa_orders::{Around, Opens};
use hansa_wal::fs::{self, Fs, RealFs};

use crate::config::{self, Config};

/// What a policy may be long.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// A node's surroundings. Besides these it knows its config and tokio's time, nothing else: no
/// file, socket, clock, thread or random byte that is not from here.
#[derive(Clone)]
pub struct World {
    /// Clocks, randomness, tasks, and what the end of the process is.
    pub env: Env,
    /// This node's own disk: all that lies below `data_dir`.
    pub fs: Arc<dyn Fs>,
    /// What its region's nodes share, or hold copies of: the vault's key and the policies.
    pub shared: Arc<dyn Fs>,
    /// Shows our name to others; it must be the config's.
    pub net: Arc<dyn Net>,
    /// The third party that moves the money: one for all nodes of a region. `None` for the
    /// sandbox that the config describes, with its journal on this machine.
    pub provider: Option<Arc<dyn Provider>>,
    /// Whether read views have folders or live in memory.
    pub views: Views,
    pub pages: Pages,
}

/// Whether `/metrics` and the probes are served. They belong to a process: its port, its recorder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pages {
    Served,
    Absent,
}

impl World {
    /// This machine, with the identity that the config names.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// No identity, no node.
    pub fn real(config: &Config) -> anyhow::Result<Self> {
        let config::Tls { cert, key, ca, reload_ms } = config.tls.clone();
        let identity = Identity::load(Files { cert, key, ca }).context("tls")?;
        let env = Env::real(&config.name);
        let every = Duration::from_millis(reload_ms);
        let fresh = identity.clone().keep_fresh(every, env.tasks.stop_token());
        env.tasks.spawn("identity", OnError::StopNode, fresh);
        let fs: Arc<dyn Fs> = Arc::new(RealFs);
        Ok(Self {
            net: Arc::new(TlsNet::new(identity, env.clock.clone())),
            env,
            fs: fs.clone(),
            shared: fs,
            provider: None,
            views: Views::Folder(config.data_dir.join("views")),
            pages: Pages::Served,
        })
    }

    /// The same, but that the node ends over the first sync of its own disk that fails.
    pub(super) fn end_unsynced(self) -> Self {
        let (fs, env) = fs::end_unsynced(self.fs, &self.env);
        Self { env, fs, ..self }
    }

    /// A policy file, read again by those who follow it.
    pub(super) fn text(&self, path: PathBuf) -> Text {
        let shared = self.shared.clone();
        Text::new(path, move |path| {
            let bytes = shared.read(path, TEXT_BYTES_MAX)?;
            String::from_utf8(bytes).map_err(std::io::Error::other)
        })
    }

    /// What the orders role needs of it.
    pub(super) fn around(
        &self,
        config: &hansa_orders::config::Config,
        opens: Arc<dyn Opens>,
    ) -> anyhow::Result<Around> {
        let (shared, net) = (self.shared.clone(), self.net.clone());
        Ok(match &self.provider {
            None => Around::of_config(&self.env, config, shared, net, opens)?,
            Some(provider) => Around {
                vault: Around::vault(&self.env, config, shared, net)?,
                provider: provider.clone(),
                opens,
            },
        })
    }
}
