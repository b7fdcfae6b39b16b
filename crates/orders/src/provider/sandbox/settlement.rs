//! The settlement file: what the sandbox did, one CSV line each, as a real provider's statement
//! says it. Appended to by all nodes of a region; a call that was repeated is said again, under the
//! same reference.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use parking_lot::Mutex;

use crate::provider::Fault;

const HEADER: &str = "key,kind,amount,currency,time,reference\n";

pub struct Settlement {
    file: Mutex<File>,
}

/// What a line says besides its time.
pub struct Said<'a> {
    pub key: &'a str,
    pub kind: &'static str,
    pub amount_minor: i64,
    pub currency: &'a str,
    pub reference: &'a str,
}

impl Settlement {
    pub fn open(path: &Path) -> std::io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        // It holds references of payments: nobody's but the owner's.
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(0o600);
        if !path.exists() {
            // Several nodes may begin at once: one header, and before any line.
            let aside = path.with_extension(format!("{}.tmp", std::process::id()));
            let mut file = options.open(&aside)?;
            file.set_len(0)?;
            file.write_all(HEADER.as_bytes())?;
            match std::fs::hard_link(&aside, path) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(error);
                }
                _ => std::fs::remove_file(&aside)?,
            }
        }
        Ok(Self { file: Mutex::new(options.open(path)?) })
    }

    /// # Errors
    /// Not written: then nothing is answered either, and the call is repeated.
    pub fn say(&self, said: &Said<'_>, time_ms: u64) -> Result<(), Fault> {
        let Said { key, kind, amount_minor, currency, reference } = said;
        let line = format!("{key},{kind},{amount_minor},{currency},{time_ms},{reference}\n");
        // One write: what two processes append at once must not mix.
        self.file.lock().write_all(line.as_bytes()).map_err(|error| {
            tracing::warn!(%error, "settlement file");
            Fault::Timeout
        })
    }
}
