//! What a league of processes looks like before it starts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use hansa::config::Config;
use hansa::league::layout::Layout;
use hansa::league::prepare;
use hansa::profile::Profile;
use hansa::replay::doors::Doors;

use super::{Process, Processes, binary};

/// The one region of a small league: Germans live there.
pub const HOME: &str = "eu-west";

/// Files and settings of a league that may still be changed.
pub struct Shape {
    pub data: PathBuf,
    pub configs: Vec<Config>,
    pub profile: Profile,
    pub binary: PathBuf,
    /// Nodes that live in a network namespace, by name.
    pub netns: BTreeMap<String, String>,
}

impl Shape {
    /// Three regions of three nodes on free ports, in a fresh folder named after the test.
    pub fn league(name: &str) -> Self {
        Self::of_regions(name, 3)
    }

    /// The first so many regions.
    pub fn of_regions(name: &str, regions: usize) -> Self {
        Self::below(crate::folder::fresh(name), regions, binary().to_owned())
    }

    /// The same in a folder of the caller's, of another program.
    pub fn below(data: PathBuf, regions: usize, binary: PathBuf) -> Self {
        let layout = Layout::apart().expect("free ports").first(regions);
        let (mut configs, profile) = prepare(&data, &layout).expect("a league on disk");
        for config in &mut configs {
            // openraft tells of each vote at length: for whoever asks for it by `HANSA_LOG`.
            let filter = std::env::var("HANSA_LOG");
            config.telemetry.log_filter =
                filter.unwrap_or_else(|_| "info,openraft=warn".to_owned());
        }
        Self { data, configs, profile, binary, netns: BTreeMap::new() }
    }

    /// One region of three nodes.
    pub fn region(name: &str) -> Self {
        let mut shape = Self::league(name);
        shape.configs.retain(|config| config.region.as_str() == HOME);
        for config in &mut shape.configs {
            config.league.retain(|region| region.name.as_str() == HOME);
        }
        shape.profile.regions.retain(|region, _| region.as_str() == HOME);
        shape
    }

    /// Keeps the first so many nodes of each region.
    #[must_use]
    pub fn nodes(mut self, count: usize) -> Self {
        let mut kept = std::collections::BTreeSet::new();
        for config in &mut self.configs {
            for region in &mut config.league {
                region.nodes.truncate(count);
                region.public.truncate(count);
                kept.extend(region.nodes.iter().map(|node| node.name.clone()));
            }
        }
        self.configs.retain(|config| kept.contains(&config.name));
        for listed in self.profile.regions.values_mut() {
            listed.endpoints.truncate(count);
        }
        self
    }

    /// Where each node keeps its data.
    #[must_use]
    pub fn folders(mut self, mut of: impl FnMut(&str) -> PathBuf) -> Self {
        for config in &mut self.configs {
            config.data_dir = of(&config.name);
        }
        self
    }

    /// Gives each node its own address, on ports that are all the same.
    #[must_use]
    pub fn addresses(mut self, of: impl Fn(&str) -> std::net::IpAddr) -> Self {
        let (public, internal, metrics) = (7_001, 7_002, 7_003);
        for config in &mut self.configs {
            let own = of(&config.name);
            config.listen.public = Some(SocketAddr::new(own, public));
            config.listen.internal = SocketAddr::new(own, internal);
            config.listen.metrics = SocketAddr::new(own, metrics);
            for region in &mut config.league {
                region.public.clear();
                for node in &mut region.nodes {
                    node.internal = format!("{}:{internal}", of(&node.name));
                    region.public.push(format!("{}:{public}", of(&node.name)));
                }
            }
        }
        for region in self.configs.iter().flat_map(|config| &config.league) {
            if let Some(listed) = self.profile.regions.get_mut(&region.name) {
                listed.endpoints.clone_from(&region.public);
            }
        }
        self
    }

    /// Changes every node's config.
    #[must_use]
    pub fn with(mut self, change: impl FnMut(&mut Config)) -> Self {
        self.configs.iter_mut().for_each(change);
        self
    }

    /// Writes the files; nothing runs yet.
    pub fn settle(self) -> Processes {
        let Self { data, configs, profile, binary, netns } = self;
        let doors = Doors::of(&profile).expect("channels to every gateway");
        profile.write(&data.join("profile.toml")).expect("a profile");
        let process = |config: Config| {
            let file = data.join(format!("{}.toml", config.name));
            let text = hansa_node::config::print(&config).expect("a config that prints");
            std::fs::write(&file, text).expect("a config file");
            let netns = netns.get(&config.name).cloned();
            let name = config.name.clone();
            (name, Process { config, file, binary: binary.clone(), netns, running: None })
        };
        let nodes = configs.into_iter().map(process).collect();
        Processes { data: data.clone(), profile, doors, keep: false, nodes }
    }

    /// Starts every node and waits until all serve.
    pub async fn start(self) -> Processes {
        let mut league = self.settle();
        league.start_all();
        league.ready().await;
        league
    }
}
