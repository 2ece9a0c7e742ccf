//! Which few-shot examples a document gets.

use serde_json::Value;

use crate::error::Fault;
use crate::random::Random;

/// Draws examples for one document after the other. One generator runs on through the whole task.
pub struct Sampler {
    rng: Random,
    first_n: bool,
}

impl Sampler {
    /// A fresh generator with the few-shot seed (1234 unless told otherwise).
    pub fn new(seed: u64, first_n: bool) -> Self {
        Self {
            rng: Random::new(seed),
            first_n,
        }
    }

    /// Indices into `pool` of `n` examples. `doc` is given where the pool is the evaluated split: then one more is
    /// drawn, and what equals the document is left out.
    pub fn draw(&mut self, pool: &[Value], n: usize, doc: Option<&Value>) -> Result<Vec<usize>, Fault> {
        let short = |asked, available| Fault::FewShotPool { asked, available };
        if n == 0 {
            return Ok(Vec::new());
        }
        let differs = |i: &usize| doc.is_none_or(|doc| !equal(&pool[*i], doc));
        if self.first_n {
            let first: Vec<usize> = (0..pool.len()).filter(differs).take(n).collect();
            return if first.len() < n {
                Err(short(n, first.len()))
            } else {
                Ok(first)
            };
        }
        let drawn = self.draw_whole(pool, n + usize::from(doc.is_some()))?;
        let kept: Vec<usize> = drawn.into_iter().filter(differs).take(n).collect();
        if kept.len() == n {
            return Ok(kept);
        }
        // Several copies of the document were drawn: once more, from a pool without them.
        let rest: Vec<usize> = (0..pool.len()).filter(differs).collect();
        let drawn = self
            .rng
            .sample(rest.len(), n)
            .map_err(|e| short(e.asked, e.available))?;
        Ok(drawn.into_iter().map(|i| rest[i]).collect())
    }
}

impl Sampler {
    /// Indices into `pool` of `n` examples, none left out.
    pub fn draw_whole(&mut self, pool: &[Value], n: usize) -> Result<Vec<usize>, Fault> {
        let short = |asked, available| Fault::FewShotPool { asked, available };
        match self.first_n {
            true if n > pool.len() => Err(short(n, pool.len())),
            true => Ok((0..n).collect()),
            false => self.rng.sample(pool.len(), n).map_err(|e| short(e.asked, e.available)),
        }
    }
}

/// Python's `==`: numbers of any kind compare by value, booleans among them.
pub fn equal(a: &Value, b: &Value) -> bool {
    fn number(v: &Value) -> Option<f64> {
        match v {
            Value::Bool(b) => Some(f64::from(u8::from(*b))),
            Value::Number(n) => n.as_f64(),
            _ => None,
        }
    }
    match (a, b) {
        (Value::Number(x), Value::Number(y)) if !x.is_f64() && !y.is_f64() => x == y,
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| equal(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(key, x)| y.get(key).is_some_and(|y| equal(x, y)))
        }
        _ => match (number(a), number(b)) {
            (Some(x), Some(y)) => x == y,
            _ => a == b,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn equality_is_pythons() {
        assert!(equal(&json!({"a": 1, "b": [true]}), &json!({"b": [1.0], "a": 1.0})));
        assert!(!equal(&json!({"a": 1}), &json!({"a": "1"})));
        assert!(!equal(&json!({"a": 1}), &json!({"a": 1, "b": null})));
    }

    #[test]
    fn the_document_itself_is_left_out() {
        let pool: Vec<Value> = (0..10).map(|i| json!({"i": i})).collect();
        let drawn = Random::new(1234).sample(10, 4).unwrap();
        let doc = &pool[drawn[1]];
        let kept = Sampler::new(1234, false).draw(&pool, 3, Some(doc)).unwrap();
        assert_eq!(kept, [drawn[0], drawn[2], drawn[3]]);
        assert_eq!(Sampler::new(1234, false).draw(&pool, 4, None).unwrap(), drawn);
        assert_eq!(Sampler::new(0, true).draw(&pool, 2, Some(&pool[0])).unwrap(), [1, 2]);
        assert_eq!(Sampler::new(0, true).draw(&pool, 2, None).unwrap(), [0, 1]);
    }

    #[test]
    fn copies_of_the_document_are_drawn_around() {
        let pool = vec![json!({"i": 0}), json!({"i": 0}), json!({"i": 1}), json!({"i": 2})];
        for seed in 0..20 {
            let mut kept = Sampler::new(seed, false).draw(&pool, 2, Some(&pool[0])).unwrap();
            kept.sort_unstable();
            assert_eq!(kept, [2, 3]);
        }
        let error = Sampler::new(0, false).draw(&pool, 4, Some(&pool[0])).unwrap_err();
        assert_eq!(error, Fault::FewShotPool { asked: 5, available: 4 });
        let error = Sampler::new(0, false).draw(&pool, 3, Some(&pool[0])).unwrap_err();
        assert_eq!(error, Fault::FewShotPool { asked: 3, available: 2 });
        assert!(Sampler::new(0, true).draw(&pool, 5, None).is_err());
    }
}
