//! The preset names of compressed-tensors (`scheme: W4A16`) and what they stand for.

use super::args::{ActOrder, Args, Dynamic, Kind, ScaleType, Sharing};

/// Weights and input activations of a preset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Preset {
    /// `None`: left unquantized
    pub weights: Option<Args>,
    /// `None`: 16-bit activations
    pub input: Option<Args>,
}

const fn args(bits: u8, kind: Kind, sharing: Sharing, group: Option<u64>, symmetric: bool, dynamic: Dynamic) -> Args {
    Args {
        bits,
        kind,
        symmetric,
        sharing,
        group,
        dynamic,
        actorder: ActOrder::None,
        scales: ScaleType::Plain,
        block: None,
    }
}

const fn int(bits: u8, sharing: Sharing, group: Option<u64>) -> Args {
    args(bits, Kind::Int, sharing, group, true, Dynamic::No)
}

const fn int_g128(bits: u8) -> Args {
    int(bits, Sharing::Group, Some(128))
}

const fn float(bits: u8, sharing: Sharing, group: Option<u64>, dynamic: Dynamic) -> Args {
    args(bits, Kind::Float, sharing, group, true, dynamic)
}

const fn token(bits: u8, kind: Kind) -> Args {
    args(bits, kind, Sharing::Token, None, true, Dynamic::Yes)
}

/// Every meaning the name had in the versions it may come from; empty for an unknown name. Names are case-insensitive.
///
/// `version` is compressed-tensors' (major, minor): `W8A16` was per channel up to 0.15 and is in groups of 128 since 0.16.
pub(crate) fn expand(name: &str, version: Option<(u32, u32)>) -> Vec<Preset> {
    let name = name.to_ascii_uppercase();
    let only = |weights: Args| {
        vec![Preset {
            weights: Some(weights),
            input: None,
        }]
    };
    let with = |weights: Args, input: Args| {
        vec![Preset {
            weights: Some(weights),
            input: Some(input),
        }]
    };
    let nvfp4 = Args {
        scales: ScaleType::E4m3,
        ..float(4, Sharing::TensorGroup, Some(16), Dynamic::No)
    };
    // weights, and inputs, of the MX formats: groups of 32 that share a power of two
    let mx = |bits| Args {
        scales: ScaleType::E8m0,
        ..float(bits, Sharing::Group, Some(32), Dynamic::No)
    };
    let running = |args: Args| Args {
        dynamic: Dynamic::Yes,
        ..args
    };
    let fp8_g128 = float(8, Sharing::Group, Some(128), Dynamic::Yes);
    match name.as_str() {
        "UNQUANTIZED" => vec![Preset {
            weights: None,
            input: None,
        }],
        "W4A16" => only(int_g128(4)),
        "W4A16_ASYM" => only(Args {
            symmetric: false,
            ..int_g128(4)
        }),
        "W8A16" => {
            let (channel, group) = (only(int(8, Sharing::Channel, None)), only(int_g128(8)));
            match version {
                Some(v) if v <= (0, 15) => channel,
                Some(_) => group,
                None => [channel, group].concat(),
            }
        }
        "W8A8" | "INT8" => with(int(8, Sharing::Channel, None), token(8, Kind::Int)),
        "W4AFP8" => with(int_g128(4), token(8, Kind::Float)),
        "W2A16" | "W3A16" | "W5A16" | "W6A16" | "W7A16" => only(int_g128(digit(&name))),
        "W2A8" | "W3A8" | "W4A8" | "W5A8" | "W6A8" | "W7A8" => with(int_g128(digit(&name)), token(8, Kind::Int)),
        "W2A4" | "W3A4" | "W4A4" => with(int_g128(digit(&name)), token(4, Kind::Int)),
        "FP8" => {
            let tensor = float(8, Sharing::Tensor, None, Dynamic::No);
            with(tensor, tensor)
        }
        "FP8_DYNAMIC" => with(float(8, Sharing::Channel, None, Dynamic::No), token(8, Kind::Float)),
        "FP8_BLOCK" => with(
            Args {
                block: Some((128, 128)),
                ..float(8, Sharing::Block, None, Dynamic::No)
            },
            fp8_g128,
        ),
        "NVFP4A16" => only(nvfp4),
        "NVFP4" => with(
            nvfp4,
            Args {
                dynamic: Dynamic::Local,
                ..nvfp4
            },
        ),
        "MXFP4A16" => only(mx(4)),
        "MXFP4" => with(mx(4), running(mx(4))),
        "MXFP4XFP8" => with(mx(4), fp8_g128),
        "MXFP8A16" => only(mx(8)),
        "MXFP8" => with(mx(8), running(mx(8))),
        "MXFP6A16" => only(mx(6)),
        "MXFP6A8" => with(mx(6), running(mx(8))),
        _ => Vec::new(),
    }
}

/// The digit after the `W`.
fn digit(name: &str) -> u8 {
    name.as_bytes().get(1).map_or(0, |b| b.wrapping_sub(b'0'))
}

/// `0.19.0`, `0.13.1.dev3+gabc` → (0, 19), (0, 13).
pub(crate) fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.');
    let number = |part: &str| {
        part.chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
            .parse()
            .ok()
    };
    Some((number(parts.next()?)?, number(parts.next()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w8a16_changed_its_meaning() {
        let sharing = |v| {
            expand("w8a16", v)
                .iter()
                .map(|p| p.weights.unwrap().sharing_text())
                .collect::<Vec<_>>()
        };
        assert_eq!(sharing(Some((0, 13))), ["channel sym"]);
        assert_eq!(sharing(Some((0, 19))), ["g128 sym"]);
        assert_eq!(sharing(None), ["channel sym", "g128 sym"]);
        assert!(expand("W9A9", None).is_empty());
        assert_eq!(expand("W3A16", None)[0].weights.unwrap().bits, 3);
    }

    /// Dumped from compressed-tensors' own table of presets, version by version.
    #[test]
    fn presets_are_the_tools_own() {
        for (text, version) in [
            (include_str!("../../../../tests/fixtures/presets/0.13.json"), (0, 13)),
            (include_str!("../../../../tests/fixtures/presets/0.19.json"), (0, 19)),
        ] {
            let all: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap();
            assert!(all.len() > 10);
            for (name, said) in all {
                let part = |field: &str| {
                    said[field]
                        .as_object()
                        .map(|args| Args::parse(args, &mut Vec::new()).unwrap())
                };
                let meanings = expand(&name.to_lowercase(), Some(version));
                let [meant] = meanings[..] else {
                    panic!("{name} in {version:?}: {meanings:?}")
                };
                for (meant, said) in [(meant.weights, part("weights")), (meant.input, part("input"))] {
                    match (meant, said) {
                        (None, None) => {}
                        (Some(meant), Some(said)) => {
                            assert!(meant.same(&said), "{name} in {version:?}: {meant:?}, not {said:?}");
                        }
                        other => panic!("{name} in {version:?}: {other:?}"),
                    }
                }
            }
        }
    }

    #[test]
    fn versions() {
        assert_eq!(version("0.19.0"), Some((0, 19)));
        assert_eq!(version("0.13.1.dev3+g1"), Some((0, 13)));
        assert_eq!(version("1.2a4"), Some((1, 2)));
        assert_eq!(version("x"), None);
    }
}
