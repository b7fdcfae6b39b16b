//! Probes: live while no task has failed, ready while the node serves.

use std::sync::Arc;

use hansa_node::tasks::Tasks;
use hansa_node::telemetry::probes;

use super::inside::Inside;

pub struct Probes {
    inside: Arc<Inside>,
    tasks: Tasks,
}

impl Probes {
    pub fn new(inside: Arc<Inside>, tasks: Tasks) -> Self {
        Self { inside, tasks }
    }
}

impl probes::Probes for Probes {
    fn live(&self) -> Result<(), String> {
        self.tasks.failure().map_or(Ok(()), Err)
    }

    fn ready(&self) -> Result<(), String> {
        if self.tasks.stop_token().is_cancelled() {
            return Err("stopping".to_owned());
        }
        self.inside.ready()
    }
}
