//! openraft's storage suite, on a real log in a temporary folder.

use std::sync::Arc;

use hansa_wal::Wal;
use hansa_wal::fs::{Fs, RealFs};
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::archive::Archive;
use crate::checkpoints::Checkpoints;
use crate::pending::Pending;
use crate::raft::Types;
use crate::raft::log_store::LogStore;
use crate::raft::state_machine::StateMachine;
use crate::replica::Cell;
use crate::room::Room;
use crate::testing::counter::Counters;
use crate::testing::{env, group_id};
use crate::trouble::Trouble;
use crate::writer::Writer;

struct Builder;

/// Keeps the folder for as long as a test runs.
struct Guard {
    _dir: TempDir,
}

impl StoreBuilder<Types, LogStore, StateMachine, Guard> for Builder {
    async fn build(&self) -> Result<(Guard, LogStore, StateMachine), StorageError<Types>> {
        let dir = tempfile::tempdir().unwrap();
        let (env, _exit) = env("suite");
        let fs: Arc<dyn Fs> = Arc::new(RealFs);
        let config = hansa_wal::Config {
            segment_bytes: 1 << 20,
            disk_bytes_max: 64 << 20,
            ..hansa_wal::Config::default()
        };
        let (wal, _) =
            Wal::open(fs.clone(), &dir.path().join("wal"), config.clone(), &env).unwrap();
        // The suite applies entries that no log holds, with gaps: no archive of entries can.
        let cell = Arc::new(Cell::new(group_id(), Counters::default(), Pending::new(false)));
        let archive = Arc::new(Archive::open(&fs, &dir.path().join("archive.redb")).unwrap());
        let (group, at) = (group_id(), dir.path().join("group"));
        let checkpoints = Checkpoints::load(fs.clone(), at, group, cell.clone(), archive).unwrap();
        let machine = StateMachine {
            replica: cell,
            checkpoints: Arc::new(checkpoints),
            log: LogStore::new(wal.clone(), group),
            writer: Writer::start(&env),
            trouble: Arc::new(Trouble::default()),
            room: Arc::new(Room::new(fs, dir.path().to_owned(), wal.clone(), &config)),
            stop: CancellationToken::new(),
        };
        Ok((Guard { _dir: dir }, LogStore::new(wal, group), machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openrafts_own_storage_suite_passes() {
    Suite::<Types, LogStore, StateMachine, Builder, Guard>::test_all(Builder).await.unwrap();
}
