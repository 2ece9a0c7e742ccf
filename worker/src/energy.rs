//! Energy, where the machine tells: NVIDIA's driver counts a card's, Linux a processor's (RAPL, in powercap's folder).
//!
//! What is counted is all of the card or the processor, whoever used it: a figure for machines that do nothing else meanwhile.

use std::fs;
use std::path::{Path, PathBuf};

use assay_engine::Chosen;
use nvml_wrapper::Nvml;

/// Where Linux shows a processor's counters. Reading them takes root's rights.
const POWERCAP: &str = "/sys/class/powercap";

/// What a device has drawn since the meter was opened.
pub struct Meter {
    source: Source,
    joules: f64,
}

enum Source {
    Card { nvml: Box<Nvml>, bus: String, last: u64 }, // millijoules
    Processor(Vec<Package>),
}

/// One of a processor's counters. They run over: after minutes on a server's.
struct Package {
    path: PathBuf,
    last: u64, // microjoules
    range: u64,
}

impl Meter {
    /// The meter of the device that computes. None where nobody counts, or not for us.
    pub fn open(device: &Chosen) -> Option<Meter> {
        let source = match device {
            Chosen::Gpu(card) => {
                let (nvml, bus) = (Box::new(Nvml::init().ok()?), card.bus().to_owned());
                let last = drawn(&nvml, &bus)?;
                Source::Card { nvml, bus, last }
            }
            Chosen::Cpu | Chosen::Reference => Source::Processor(packages(Path::new(POWERCAP))?),
        };
        Some(Meter { source, joules: 0.0 })
    }

    /// Looks at the counters: to be done every few minutes, since a processor's run over.
    pub fn look(&mut self) {
        self.joules += match &mut self.source {
            Source::Card { nvml, bus, last } => {
                let now = drawn(nvml, bus).unwrap_or(*last);
                1e-3 * now.saturating_sub(std::mem::replace(last, now)) as f64
            }
            Source::Processor(packages) => packages.iter_mut().map(Package::look).sum(),
        };
    }

    /// Joules up to now.
    pub fn joules(&mut self) -> f64 {
        self.look();
        self.joules
    }
}

fn drawn(nvml: &Nvml, bus: &str) -> Option<u64> {
    nvml.device_by_pci_bus_id(bus).ok()?.total_energy_consumption().ok()
}

/// The packages below `folder`, also AMD's, and their memory, which is not within them as `core` and `uncore` are. Not `psys`, the whole
/// machine's: few have it.
fn packages(folder: &Path) -> Option<Vec<Package>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        let name = fs::read_to_string(path.join("name")).unwrap_or_default();
        if name.starts_with("package-") || name.trim() == "dram" {
            let (last, range) = (
                number(&path.join("energy_uj"))?,
                number(&path.join("max_energy_range_uj"))?,
            );
            found.push(Package { path, last, range });
        }
    }
    (!found.is_empty()).then_some(found)
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

impl Package {
    fn look(&mut self) -> f64 {
        let now = number(&self.path.join("energy_uj")).unwrap_or(self.last);
        let before = std::mem::replace(&mut self.last, now);
        let over = if now < before { self.range } else { 0 };
        1e-6 * (now + over).saturating_sub(before) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, zone: &str, name: &str, microjoules: u64) {
        let zone = folder.join(zone);
        fs::create_dir_all(&zone).unwrap();
        fs::write(zone.join("name"), format!("{name}\n")).unwrap();
        fs::write(zone.join("energy_uj"), format!("{microjoules}\n")).unwrap();
        fs::write(zone.join("max_energy_range_uj"), "262143328850\n").unwrap();
    }

    #[test]
    fn packages_and_their_memory_are_counted_once_and_run_over() {
        let folder = tempfile::tempdir().unwrap();
        let set = |first: u64, second: u64| {
            write(folder.path(), "intel-rapl:0", "package-0", first);
            write(folder.path(), "intel-rapl:1", "package-1", second);
            write(folder.path(), "intel-rapl:0:0", "dram", first / 4);
            write(folder.path(), "intel-rapl:0:1", "core", 7 * first);
            write(folder.path(), "intel-rapl:2", "psys", 9 * first);
        };
        set(1_000_000, 262_143_000_000);
        let mut meter = Meter {
            source: Source::Processor(packages(folder.path()).unwrap()),
            joules: 0.0,
        };
        assert_eq!(meter.joules(), 0.0);
        set(3_000_000, 262_143_328_850);
        let drawn = 2.0 + 0.5 + 0.328_850;
        assert!((meter.joules() - drawn).abs() < 1e-9);
        set(3_000_000, 500_000);
        assert!((meter.joules() - drawn - 0.5).abs() < 1e-9, "the second ran over");
        // a counter that can no longer be read adds nothing, and what was counted stays
        fs::remove_dir_all(folder.path().join("intel-rapl:0")).unwrap();
        assert!((meter.joules() - drawn - 0.5).abs() < 1e-9);
    }

    #[test]
    fn without_counters_there_is_no_meter() {
        let folder = tempfile::tempdir().unwrap();
        assert!(packages(folder.path()).is_none());
        assert!(packages(&folder.path().join("not there")).is_none());
        write(folder.path(), "intel-rapl:0", "psys", 5);
        assert!(packages(folder.path()).is_none());
    }
}
