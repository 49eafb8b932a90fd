//! How values become bytes, and bytes values. Runs only on the way to or from a tier, never on a hit.

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::stored::Fingerprint;

/// Turns values of one type into bytes and back.
///
/// `decode(encode(v))` must equal `v`. Bytes that are not an encoding must give an error, not a panic.
pub trait Codec<V>: Send + Sync + 'static {
    /// Appends the bytes of `value` to `out`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] if the value has no encoding.
    fn encode(&self, value: &V, out: &mut Vec<u8>) -> Result<()>;

    /// The value that `bytes` encode.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] if they encode none.
    fn decode(&self, bytes: &Bytes) -> Result<V>;

    /// Tells the bytes of this codec and this shape of `V` from all others. Bytes of another fingerprint are
    /// a miss.
    ///
    /// Change it when an old encoding would be misread; leave it when old bytes decode to the right value.
    fn fingerprint(&self) -> Fingerprint;
}

/// A fingerprint from the name of a codec and of a schema.
fn fingerprint(codec: &str, schema: &str) -> Fingerprint {
    use std::hash::Hasher;
    // A constant of the format: it must be the same in every process and version.
    let mut hasher = siphasher::sip::SipHasher13::new_with_keys(0x6e61_6e6f, 0x7469_6572);
    hasher.write(codec.as_bytes());
    hasher.write(&[0]);
    hasher.write(schema.as_bytes());
    Fingerprint(hasher.finish())
}

/// Bytes as they are: `Bytes`, `Vec<u8>` and `String`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

impl Codec<Bytes> for Raw {
    fn encode(&self, value: &Bytes, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(value);
        Ok(())
    }

    fn decode(&self, bytes: &Bytes) -> Result<Bytes> {
        Ok(bytes.clone())
    }

    fn fingerprint(&self) -> Fingerprint {
        fingerprint("raw", "bytes")
    }
}

impl Codec<Vec<u8>> for Raw {
    fn encode(&self, value: &Vec<u8>, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(value);
        Ok(())
    }

    fn decode(&self, bytes: &Bytes) -> Result<Vec<u8>> {
        Ok(bytes.to_vec())
    }

    fn fingerprint(&self) -> Fingerprint {
        fingerprint("raw", "bytes")
    }
}

impl Codec<String> for Raw {
    fn encode(&self, value: &String, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(value.as_bytes());
        Ok(())
    }

    fn decode(&self, bytes: &Bytes) -> Result<String> {
        String::from_utf8(bytes.to_vec())
            .map_err(|error| Error::new(ErrorKind::Codec, "cache", "decode").with_source(error.utf8_error()))
    }

    fn fingerprint(&self) -> Fingerprint {
        fingerprint("raw", "utf-8")
    }
}

#[cfg(feature = "json")]
mod json {
    use super::{Bytes, Codec, Error, ErrorKind, Fingerprint, Result, fingerprint};
    use serde::{Serialize, de::DeserializeOwned};

    /// JSON by `serde_json`: readable, and forgiving when a type gains or loses optional fields.
    ///
    /// The schema is a name of yours: change it when old values must not be read any more.
    #[derive(Clone, Debug, Default)]
    pub struct Json {
        schema: String,
    }

    impl Json {
        /// JSON of the schema `schema`.
        #[must_use]
        pub fn schema(schema: impl Into<String>) -> Self {
            Self { schema: schema.into() }
        }
    }

    impl<V: Serialize + DeserializeOwned> Codec<V> for Json {
        fn encode(&self, value: &V, out: &mut Vec<u8>) -> Result<()> {
            serde_json::to_writer(out, value)
                .map_err(|error| Error::new(ErrorKind::Codec, "cache", "encode").with_source(error))
        }

        fn decode(&self, bytes: &Bytes) -> Result<V> {
            serde_json::from_slice(bytes)
                .map_err(|error| Error::new(ErrorKind::Codec, "cache", "decode").with_source(error))
        }

        fn fingerprint(&self) -> Fingerprint {
            fingerprint("json", &self.schema)
        }
    }
}
#[cfg(feature = "json")]
pub use json::Json;

#[cfg(feature = "postcard")]
mod compact {
    use super::{Bytes, Codec, Error, ErrorKind, Fingerprint, Result, fingerprint};
    use serde::{Serialize, de::DeserializeOwned};

    /// Postcard: half the size and a third of the time of JSON. A type that changes shape needs a new schema
    /// name.
    ///
    /// Unless a schema is named, it is the type's path: a renamed or moved type is a miss.
    #[derive(Clone, Debug, Default)]
    pub struct Postcard {
        schema: Option<String>,
    }

    impl Postcard {
        /// Postcard of the schema `schema`.
        #[must_use]
        pub fn schema(schema: impl Into<String>) -> Self {
            Self { schema: Some(schema.into()) }
        }
    }

    impl<V: Serialize + DeserializeOwned> Codec<V> for Postcard {
        fn encode(&self, value: &V, out: &mut Vec<u8>) -> Result<()> {
            // Into the given buffer: `to_allocvec` would grow its own in five steps.
            let kept = std::mem::take(out);
            *out = postcard::to_extend(value, kept)
                .map_err(|error| Error::new(ErrorKind::Codec, "cache", "encode").with_source(error))?;
            Ok(())
        }

        fn decode(&self, bytes: &Bytes) -> Result<V> {
            match postcard::take_from_bytes(bytes) {
                Ok((value, [])) => Ok(value),
                Ok(_) => {
                    Err(Error::new(ErrorKind::Codec, "cache", "decode").with_detail("bytes are left over"))
                }
                Err(error) => Err(Error::new(ErrorKind::Codec, "cache", "decode").with_source(error)),
            }
        }

        fn fingerprint(&self) -> Fingerprint {
            fingerprint("postcard", self.schema.as_deref().unwrap_or(std::any::type_name::<V>()))
        }
    }
}
#[cfg(feature = "postcard")]
pub use compact::Postcard;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_strings_refuse_bytes_that_are_no_text() {
        let error = Codec::<String>::decode(&Raw, &Bytes::from_static(&[0xff])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec);
    }

    #[test]
    fn fingerprints_tell_codecs_and_schemas_apart_and_never_change() {
        assert_ne!(Codec::<Bytes>::fingerprint(&Raw), Codec::<String>::fingerprint(&Raw));
        // Written into every record: a change here makes every stored value a miss.
        assert_eq!(Codec::<Bytes>::fingerprint(&Raw), fingerprint("raw", "bytes"));
    }

    #[cfg(feature = "json")]
    #[test]
    fn json_round_trips_and_its_schema_counts() {
        let mut out = Vec::new();
        Json::default().encode(&vec![1_u8, 2], &mut out).unwrap();
        assert_eq!(out, b"[1,2]");
        let back: Vec<u8> = Json::default().decode(&out.into()).unwrap();
        assert_eq!(back, [1, 2]);
        let of = |json: Json| Codec::<u8>::fingerprint(&json);
        assert_ne!(of(Json::schema("v1")), of(Json::schema("v2")));
    }

    #[cfg(feature = "postcard")]
    #[test]
    fn postcard_keeps_what_is_in_the_buffer_and_refuses_left_overs() {
        let mut out = vec![9];
        Postcard::default().encode(&7_u8, &mut out).unwrap();
        assert_eq!(out, [9, 7]);
        assert_eq!(Codec::<u8>::decode(&Postcard::default(), &Bytes::from_static(&[7])).unwrap(), 7);
        assert!(Codec::<u8>::decode(&Postcard::default(), &Bytes::from_static(&[7, 7])).is_err());
        let of_u8 = Codec::<u8>::fingerprint(&Postcard::default());
        assert_ne!(of_u8, Codec::<u16>::fingerprint(&Postcard::default()));
    }
}
