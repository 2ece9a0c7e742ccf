//! A submission folder as `verify` sees it: names, lengths, safetensors headers and small texts. Reads are bounded.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::safetensors::{MAX_HEADER_BYTES, header_len};

/// Most directory entries looked at.
pub const MAX_ENTRIES: usize = 4096;

/// Why a folder could not be looked at (as opposed to: was looked at and is wrong).
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// Not a folder, or not readable.
    #[error("{path}: {source}")]
    Io {
        /// what was being read
        path: PathBuf,
        /// what the system said
        source: io::Error,
    },
    /// A folder with thousands of entries is not a checkpoint.
    #[error("{path} has more than {MAX_ENTRIES} entries: it is not a checkpoint folder")]
    TooManyEntries {
        /// the folder
        path: PathBuf,
    },
    /// The base model's folder lacks something, or it cannot be read as what it should be.
    #[error("{path}: {reason}")]
    Base {
        /// which file
        path: PathBuf,
        /// what is wrong
        reason: String,
    },
}

/// A folder's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// in name order when read from a folder; any order otherwise
    pub files: Vec<ListedFile>,
}

/// One file of a [`Listing`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFile {
    /// its name in the folder
    pub name: String,
    /// its length
    pub bytes: u64,
    /// what of it is at hand
    pub content: Content,
}

/// What of a file is at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// a safetensors file's beginning, `8 + n` bytes (less if the file is broken)
    Header(Vec<u8>),
    /// a whole small file
    Text(Vec<u8>),
    /// nothing: a kind that is not read, or too long
    Absent,
    /// not a file but a folder
    Folder,
    /// a symbolic link, a device, a socket
    Special,
}

/// The longest content `verify` wants of a file with that name; `None` when it reads only the safetensors header or nothing.
pub fn text_limit(name: &str) -> Option<u64> {
    Some(match name {
        "config.json" => crate::config::MAX_CONFIG_BYTES,
        "recipe.yaml" => 256 << 10,
        "generation_config.json"
        | "quantize_config.json"
        | "quantization_config.json"
        | "quant_config.json"
        | "hf_quant_config.json" => 2 << 20,
        "tokenizer_config.json" | "chat_template.jinja" | "chat_template.json" => 4 << 20,
        "tokenizer.json" => 48 << 20,
        "model.safetensors.index.json" => 16 << 20,
        _ => return None,
    })
}

impl Listing {
    /// Looks at a folder. Links are not followed, subfolders not entered; both appear in the listing for `verify` to name.
    pub fn read_dir(dir: &Path) -> Result<Listing, LookError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| LookError::Io { path, source }
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(failed(dir))? {
            if files.len() == MAX_ENTRIES {
                return Err(LookError::TooManyEntries { path: dir.to_owned() });
            }
            let entry = entry.map_err(failed(dir))?;
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let meta = std::fs::symlink_metadata(&path).map_err(failed(&path))?;
            let (bytes, content) = if meta.is_dir() {
                (0, Content::Folder)
            } else if !meta.is_file() {
                (0, Content::Special)
            } else {
                (
                    meta.len(),
                    read_content(&path, &name, meta.len()).map_err(failed(&path))?,
                )
            };
            files.push(ListedFile { name, bytes, content });
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Listing { files })
    }

    /// The file of that name.
    pub fn file(&self, name: &str) -> Option<&ListedFile> {
        self.files.iter().find(|f| f.name == name)
    }

    /// The content of a small file, if it is at hand.
    pub fn text(&self, name: &str) -> Option<&[u8]> {
        match self.file(name) {
            Some(ListedFile {
                content: Content::Text(bytes),
                ..
            }) => Some(bytes),
            _ => None,
        }
    }
}

fn read_content(path: &Path, name: &str, bytes: u64) -> io::Result<Content> {
    if name.ends_with(".safetensors") {
        return read_header(path, bytes).map(Content::Header);
    }
    match text_limit(name) {
        Some(limit) if bytes <= limit => {
            let mut text = Vec::new();
            open_plain(path)?.take(limit).read_to_end(&mut text)?;
            Ok(Content::Text(text))
        }
        _ => Ok(Content::Absent),
    }
}

/// The first `8 + n` bytes, or as much as there is; never more than the header's cap.
fn read_header(path: &Path, bytes: u64) -> io::Result<Vec<u8>> {
    let mut file = open_plain(path)?;
    let mut prefix = Vec::new();
    file.by_ref().take(8).read_to_end(&mut prefix)?;
    if let Some(n) = prefix.first_chunk().and_then(|first8| header_len(first8, bytes).ok()) {
        file.take(n.min(MAX_HEADER_BYTES)).read_to_end(&mut prefix)?;
    }
    Ok(prefix)
}

/// Opens a regular file that is not reached through a link: what was checked by name must be what was opened.
pub(crate) fn open_plain(path: &Path) -> io::Result<File> {
    let named = std::fs::symlink_metadata(path)?;
    if !named.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file"));
    }
    let file = File::open(path)?;
    let opened = file.metadata()?;
    if (named.dev(), named.ino()) != (opened.dev(), opened.ino()) {
        return Err(io::Error::other("the file was replaced while it was being opened"));
    }
    Ok(file)
}
