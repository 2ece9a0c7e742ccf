//! The scales of a quantized key/value cache.

use super::{CacheCodes, Checkpoint, HeadScale, OpenError, Shards};
use crate::quant::cache::{CacheScheme, scale_names, zero_name};
use crate::safetensors::Dtype;

impl Checkpoint {
    /// How a layer's keys and values are quantized by the scheme that the configuration declares; `None` where it declares none, or none
    /// that can be applied. Scales that are not stored are 1, as in vLLM; one of keys or values alone serves both.
    pub fn cache(&self, layer: usize) -> Result<Option<CacheCodes>, OpenError> {
        let Some(scheme) = self.cache else {
            return Ok(None);
        };
        let side = |which| self.side(scheme, layer, which);
        let (keys, values) = match scheme.stored {
            true => (side('k')?, side('v')?),
            false => (None, None),
        };
        let one = HeadScale { scale: 1.0, zero: 0 };
        let none = || vec![one; self.config.kv_heads];
        Ok(Some(CacheCodes {
            codes: scheme.codes,
            keys: keys.clone().or_else(|| values.clone()).unwrap_or_else(none),
            values: values.or(keys).unwrap_or_else(none),
        }))
    }

    fn side(&self, scheme: CacheScheme, layer: usize, which: char) -> Result<Option<Vec<HeadScale>>, OpenError> {
        let heads = self.config.kv_heads;
        let names = scale_names(&self.config, layer, which);
        let Some((name, elements)) = names
            .into_iter()
            .find_map(|name| Some((elements(&self.shards, &name)?, name)))
            .map(|(elements, name)| (name, elements))
        else {
            return Ok(None);
        };
        let wrong = |reason: String| OpenError::Tensor {
            tensor: name.clone(),
            reason,
        };
        if elements != 1 && elements != heads {
            return Err(wrong(format!("{elements} scales for {heads} heads")));
        }
        let scales = self.shards.floats(&name, elements)?.1;
        if let Some(scale) = scales.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
            return Err(wrong(format!("{scale} is no scale")));
        }
        let zero = zero_name(&name);
        let zeros = match elements_of(&self.shards, &zero, Dtype::I8) {
            Some(count) if !scheme.symmetric && count == elements => {
                let (_, bytes) = self.shards.bytes(&zero, count, &[Dtype::I8])?;
                bytes.iter().map(|b| *b as i8).collect()
            }
            _ => vec![0; elements],
        };
        let head = |head: usize| {
            let i = if elements == 1 { 0 } else { head };
            HeadScale {
                scale: scales[i],
                zero: zeros[i],
            }
        };
        Ok(Some((0..heads).map(head).collect()))
    }
}

fn elements(shards: &Shards, name: &str) -> Option<usize> {
    let (_, info) = shards.tensors().find(|(n, _)| *n == name)?;
    Some(info.shape.iter().product::<u64>() as usize)
}

fn elements_of(shards: &Shards, name: &str, dtype: Dtype) -> Option<usize> {
    let (_, info) = shards.tensors().find(|(n, _)| *n == name)?;
    (info.dtype == dtype).then_some(info.shape.iter().product::<u64>() as usize)
}
