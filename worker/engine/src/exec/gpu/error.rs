//! What can be wrong with a graphics card.

/// Why a graphics card cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    /// no adapter, or none that was asked for
    #[error(
        "there is no graphics card {}; Vulkan shows {}. A card needs its driver's graphics libraries (not only the compute ones), \
         the loader libvulkan1, and in a container NVIDIA_DRIVER_CAPABILITIES with `graphics`; VK_DRIVER_FILES can name the \
         driver's .json file. A software adapter is used only when named, as in gpu:llvmpipe. --device cpu needs no card",
        wanted.as_ref().map_or("to be found".to_owned(), |name| format!("whose name contains `{name}` or whose PCI bus id it is")),
        if found.is_empty() { "no adapter".to_owned() } else { found.join("; ") }
    )]
    NoCard {
        /// the name asked for
        wanted: Option<String>,
        /// what there is
        found: Vec<String>,
    },
    /// the driver lacks something the kernels need
    #[error("{card} cannot run the kernels: {missing}")]
    Unsupported {
        /// the adapter
        card: String,
        /// what it lacks
        missing: String,
    },
    /// the driver would not open the card
    #[error("{card} could not be opened: {reason}")]
    Refused {
        /// the adapter
        card: String,
        /// the driver's words
        reason: String,
    },
    /// a buffer beyond what the card can address
    #[error("{what} takes {bytes} bytes; this card allows {limit} ({rule})")]
    TooLarge {
        /// tensor or buffer
        what: String,
        /// its size
        bytes: u64,
        /// what is allowed
        limit: u64,
        /// the name of the limit
        rule: &'static str,
    },
    /// more workgroups than the card can number
    #[error("{what} takes {groups} workgroups; this card allows {limit} (max_compute_workgroups_per_dimension)")]
    TooWide {
        /// tensor
        what: String,
        /// workgroups it takes
        groups: u32,
        /// what is allowed
        limit: u32,
    },
    /// the driver reported an error: out of memory, or a mistake of ours
    #[error("the graphics card reported: {0}")]
    Reported(String),
    /// the card went away
    #[error("the graphics card was lost: {0}")]
    Lost(String),
    /// work that did not come to an end
    #[error("the graphics card did not finish within {seconds} seconds")]
    Hung {
        /// how long was waited
        seconds: u64,
    },
    /// the card computes wrongly
    #[error(
        "this card or its driver computes wrongly and cannot be used: {kernel}: {found}. Another driver version may help; --device cpu works everywhere"
    )]
    SelfTest {
        /// what was tested
        kernel: String,
        /// what came out
        found: String,
    },
}
