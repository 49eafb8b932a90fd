//! Records of every format version that was ever written are read for ever: here they are, byte for byte. And
//! `docs/FORMATS.md` is held to what the encoder does, field by field.
//!
//! `NANOTIER_WRITE_GOLDEN=1` writes the files that are missing. One that is there is never written over: a format that changes
//! gets a new number and new files.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use nanotier_tier::record::{FORMAT, FORMAT_SHAPED, Framing, HEADER_LEN, MAGIC, Unreadable};
use nanotier_tier::shaping::{Cipher, Compression, KeyId, KeyRing, Refused, Secret, Shaping};
use nanotier_tier::{
    Bytes, COUNTER, Deadlines, Encoded, Entry, Fingerprint, Namespace, Path, Record, Shape, Tags, Timestamp,
    Version,
};

/// A file, and what it is to decode to.
struct Golden {
    name: &'static str,
    entry: Entry,
}

const NAMESPACE: &str = "golden";
const KEY: &[u8] = b"the key \x00\xff";

fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn taken_at() -> Timestamp {
    at(0x0000_018b_cfe5_6a05)
}

fn version() -> Version {
    Version::from_parts(0x018b_cfe5_6a00_0003, 0x1122_3344_5566_7788)
}

/// Every field has a value that no other has.
fn distinct(value: &[u8], fingerprint: Fingerprint) -> Record {
    Record {
        value: Encoded::new(Bytes::copy_from_slice(value), fingerprint),
        deadlines: Deadlines {
            fresh_until: at(0x0000_018b_cfe6_0001),
            usable_until: at(0x0000_018b_cfe7_0002),
        },
        written_at: at(0x0000_018b_cfe5_6a03),
        confirmed_at: at(0x0000_018b_cfe5_6a04),
        version: version(),
        load_cost: Duration::from_micros(0x0001_e240),
        tags: Tags::NONE,
    }
}

fn with_tags() -> Record {
    let tags = Tags::new(["blue", "red", "größe"]).expect("within the limits");
    Record { tags, ..distinct(b"a value", Fingerprint(0xa1a2_a3a4_a5a6_a7a8)) }
}

fn goldens() -> Vec<Golden> {
    let present = |name, record| Golden { name, entry: Entry::Present(record) };
    vec![
        present("1-record-with-tags", with_tags()),
        present("1-empty-value", distinct(b"", Fingerprint(7))),
        present("1-for-ever", Record { deadlines: Deadlines::NEVER, ..distinct(&[0; 300], Fingerprint(8)) }),
        present("1-blank", Record::blank(version(), at(0x0000_018b_cfe5_6a03))),
        present("1-counter", distinct(&(-42_i64).to_le_bytes(), COUNTER)),
        Golden { name: "1-tombstone", entry: Entry::Removed(version()) },
    ]
}

fn namespace() -> Namespace {
    Namespace::new(NAMESPACE).expect("a good name")
}

fn encode(entry: &Entry) -> Vec<u8> {
    let namespace = namespace();
    let path = Path::new(&namespace, KEY);
    Framing::default().encode(&path, entry.record(), version(), taken_at()).expect("within the limits")
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.bin"))
}

#[test]
fn golden_files_are_what_is_written_and_come_back_as_they_went() {
    let namespace = namespace();
    let path = Path::new(&namespace, KEY);
    for Golden { name, entry } in goldens() {
        let (file, encoded) = (file(name), encode(&entry));
        if std::env::var_os("NANOTIER_WRITE_GOLDEN").is_some() && !file.exists() {
            fs::write(&file, &encoded).expect("the folder can be written");
        }
        let golden = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert_eq!(encoded, golden, "{name}: what is written has changed without a new format version");
        let decoded = Framing::default().decode(&path, &Bytes::from(golden)).expect("an old record is read");
        assert_eq!(decoded, (entry, taken_at()), "{name}");
    }
}

/// A file of format 2, and how it was shaped.
fn shaped_goldens() -> Vec<(&'static str, Shaping)> {
    let ring = |cipher| {
        let secret = Secret::new(*b"the golden key, 32 bytes of text");
        KeyRing::with_cipher(cipher, KeyId(0x0135_2711), &secret).expect("a good key")
    };
    let build = |builder: nanotier_tier::shaping::Builder| builder.build().expect("a good shaping");
    let aes = || Shaping::builder().encrypt(ring(Cipher::Aes256Gcm));
    vec![
        ("2-lz4", build(Shaping::builder().compress(Compression::Lz4))),
        ("2-zstd", build(Shaping::builder().compress(Compression::Zstd { level: 1 }))),
        ("2-gzip", build(Shaping::builder().compress(Compression::Gzip { level: 6 }))),
        ("2-aes-256-gcm", build(aes())),
        ("2-lz4-aes-256-gcm", build(aes().compress(Compression::Lz4))),
        (
            "2-zstd-xchacha20-poly1305",
            build(
                Shaping::builder()
                    .compress(Compression::Zstd { level: 1 })
                    .encrypt(ring(Cipher::XChaCha20Poly1305)),
            ),
        ),
    ]
}

fn to_be_shaped() -> Record {
    let tags = with_tags().tags;
    let text = "a value that repeats itself, ".repeat(12);
    Record { tags, ..distinct(text.as_bytes(), Fingerprint(0xa1a2_a3a4_a5a6_a7a8)) }
}

/// What is written differs from time to time: nonces do, and a newer compressor may do better.
#[test]
fn golden_files_of_shaped_values_are_opened() {
    let namespace = namespace();
    let path = Path::new(&namespace, KEY);
    let original = to_be_shaped();
    for (name, shaping) in shaped_goldens() {
        let file = file(name);
        if std::env::var_os("NANOTIER_WRITE_GOLDEN").is_some() && !file.exists() {
            let stored = shaping.shape(&path, &original).expect("within the limits");
            fs::write(&file, encode(&Entry::Present(stored))).expect("the folder can be written");
        }
        let golden = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert_eq!(golden[4], FORMAT_SHAPED, "{name}");
        let bytes = Bytes::from(golden.clone());
        let (entry, at) = Framing::default().decode(&path, &bytes).expect("an old record is read");
        assert_eq!((at, encode(&entry)), (taken_at(), golden), "{name}: it has one encoding");
        let Entry::Present(stored) = entry else { panic!("{name}: {entry:?}") };
        assert_eq!(shaping.open(&path, stored).expect("an old value is opened"), original, "{name}");
    }
}

#[test]
fn the_documented_prefix_lies_where_shaping_puts_it() {
    let namespace = namespace();
    let path = Path::new(&namespace, KEY);
    let original = to_be_shaped();
    let rows = table(&document(), "\n### Prefix\n");
    let names: Vec<&str> = rows.iter().map(|row| row[2].as_str()).collect();
    assert_eq!(names, ["compression", "cipher", "zero", "key_id", "logical_len"]);
    let logical_len = u32::try_from(original.value.bytes.len()).expect("short").to_le_bytes();
    // Algorithms by their numbers, and what encryption adds.
    let known = [(1, 0, 0), (2, 0, 0), (3, 0, 0), (0, 1, 40), (1, 1, 40), (2, 2, 52)];
    for ((name, shaping), (compression, cipher, added)) in shaped_goldens().into_iter().zip(known) {
        let value = shaping.shape(&path, &original).expect("within the limits").value;
        let key_id = if cipher == 0 { 0 } else { 0x0135_2711_u32 };
        let expected: [&[u8]; 5] = [&[compression], &[cipher], &[0, 0], &key_id.to_le_bytes(), &logical_len];
        let mut end = 0;
        for (row, expected) in rows.iter().zip(expected) {
            let (offset, size): (usize, usize) =
                (row[0].parse().expect("a number"), row[1].parse().expect("a number"));
            assert_eq!(offset, end, "{row:?} does not begin where the one before it ends");
            end += size;
            assert_eq!(value.bytes[offset..end], *expected, "{name}: {row:?}");
        }
        assert_eq!(value.shape, Shape { compressed: compression != 0, encrypted: cipher != 0 });
        if compression == 0 {
            assert_eq!(value.bytes.len(), original.value.bytes.len() + added, "{name}");
        }
    }
    let limits = table(&document(), "\n## Limits\n");
    let adds = limits.iter().find(|row| row[0] == "what encryption adds to a value").expect("a row");
    assert_eq!((adds[1].as_str(), adds[2].contains("52 by XChaCha20-Poly1305")), ("40", true));
}

/// Every row of the document's table, in its order. That an earlier one is found first, `Malformed` before `Forged` and so on,
/// follows from nothing but that order.
#[test]
fn shaped_values_are_refused_as_documented() {
    let namespace = namespace();
    let path = Path::new(&namespace, KEY);
    let original = to_be_shaped();
    let goldens: std::collections::HashMap<&str, Shaping> = shaped_goldens().into_iter().collect();
    let strict = &goldens["2-lz4-aes-256-gcm"];
    let sealed = strict.shape(&path, &original).expect("within the limits");
    let squeezed = goldens["2-lz4"].shape(&path, &original).expect("within the limits");
    let changed = |record: &Record, at: usize, to: &[u8]| {
        let mut bytes = record.value.bytes.to_vec();
        bytes[at..at + to.len()].copy_from_slice(to);
        Record { value: Encoded { bytes: bytes.into(), ..record.value.clone() }, ..record.clone() }
    };
    let cut = |record: &Record, len: usize| {
        let bytes = record.value.bytes.slice(..len);
        Record { value: Encoded { bytes, ..record.value.clone() }, ..record.clone() }
    };
    let small = Shaping::builder().value_len_max(100).build().expect("a good shaping");
    let rows: Vec<(&Shaping, Record, &str)> = vec![
        (strict, original.clone(), "NotEncrypted"),
        (strict, changed(&sealed, 2, &[1]), "Malformed"),
        (strict, changed(&sealed, 0, &[9]), "UnknownAlgorithm"),
        (strict, changed(&sealed, 4, &[9]), "UnknownKey"),
        (&goldens["2-zstd-xchacha20-poly1305"], sealed.clone(), "UnknownAlgorithm"),
        (strict, cut(&sealed, 12 + 12 + 15), "Malformed"),
        (strict, changed(&sealed, 8, &u32::MAX.to_le_bytes()), "TooLarge"),
        (strict, changed(&sealed, 8, &0x1000_0000_u32.to_le_bytes()), "Malformed"),
        (strict, changed(&sealed, sealed.value.bytes.len() - 1, &[sealed.value.bytes[0] ^ 0x5a]), "Forged"),
        (&goldens["2-lz4"], changed(&squeezed, 12, &[0xff; 9]), "Malformed"),
    ];
    let documented: Vec<String> = table(&document(), "\n### How a shaped value is refused\n")
        .iter()
        .map(|row| row[1].clone())
        .collect();
    assert_eq!(rows.iter().map(|row| row.2).collect::<Vec<_>>(), documented);
    for (shaping, record, why) in rows {
        let refused = shaping.open(&path, record).expect_err(why);
        assert!(format!("{refused:?}").starts_with(why), "{refused:?} instead of {why}");
    }
    for flags in [squeezed, original] {
        assert_eq!(small.open(&path, flags), Err(Refused::TooLarge), "a limit holds for all");
    }
}

#[test]
fn the_digest_of_a_path_is_part_of_the_format() {
    let namespace = namespace();
    let framing = Framing::default();
    let digest = framing.digest(&Path::new(&namespace, KEY));
    assert_eq!(encode(&Entry::Removed(version()))[80..96], digest);
    let secret = framing.with_secret(*b"sixteen bytes !!");
    assert_ne!(secret.digest(&Path::new(&namespace, KEY)), digest);
}

/// One row of the document's table of fields.
#[derive(Debug)]
struct Field {
    offset: usize,
    size: usize,
    name: String,
}

fn document() -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/FORMATS.md");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rows of the first table under this heading, as cells.
fn table(document: &str, heading: &str) -> Vec<Vec<String>> {
    let section = document.split_once(heading).unwrap_or_else(|| panic!("FORMATS.md has no {heading:?}")).1;
    let lines = section.lines().skip_while(|line| !line.starts_with('|'));
    let rows = lines.take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect())
        .collect()
}

fn fields(document: &str) -> Vec<Field> {
    let rows = table(document, "\n### Header\n");
    let number = |cell: &str| cell.parse().unwrap_or_else(|_| panic!("{cell:?} is no number"));
    rows.iter()
        .map(|row| Field { offset: number(&row[0]), size: number(&row[1]), name: row[2].clone() })
        .collect()
}

#[test]
fn the_documented_fields_lie_where_the_encoder_puts_them() {
    let record = with_tags();
    let bytes = encode(&Entry::Present(record.clone()));
    let fields = fields(&document());
    let mut end = 0;
    for field in &fields {
        assert_eq!(field.offset, end, "{field:?} does not begin where the one before it ends");
        end += field.size;
    }
    assert_eq!(end, HEADER_LEN);

    let (hlc, writer) = record.version.parts();
    let tags_len = record.tags.iter().map(|tag| 1 + tag.len()).sum::<usize>();
    let namespace = namespace();
    let digest = Framing::default().digest(&Path::new(&namespace, KEY));
    let short = |n: usize| u32::try_from(n).expect("short").to_le_bytes();
    let expected: Vec<(&str, Vec<u8>)> = vec![
        ("magic", MAGIC.to_vec()),
        ("format", vec![FORMAT]),
        ("flags", vec![0]),
        ("tags_len", short(tags_len)[..2].to_vec()),
        ("taken_at", taken_at().as_millis().to_le_bytes().to_vec()),
        ("confirmed_at", record.confirmed_at.as_millis().to_le_bytes().to_vec()),
        ("version.hlc", hlc.to_le_bytes().to_vec()),
        ("version.writer", writer.to_le_bytes().to_vec()),
        ("written_at", record.written_at.as_millis().to_le_bytes().to_vec()),
        ("fresh_until", record.deadlines.fresh_until.as_millis().to_le_bytes().to_vec()),
        ("usable_until", record.deadlines.usable_until.as_millis().to_le_bytes().to_vec()),
        ("fingerprint", record.value.fingerprint.0.to_le_bytes().to_vec()),
        ("load_cost", short(usize::try_from(record.load_cost.as_micros()).expect("short")).to_vec()),
        ("value_len", short(record.value.bytes.len()).to_vec()),
        ("digest", digest.to_vec()),
    ];
    let documented: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
    let known: Vec<&str> = expected.iter().map(|(name, _)| *name).collect();
    assert_eq!(documented, known);
    for (field, (name, expected)) in fields.iter().zip(&expected) {
        assert_eq!(bytes[field.offset..field.offset + field.size], expected[..], "{name}");
    }
}

#[test]
fn the_documented_constants_are_those_of_the_code() {
    let document = document();
    let rows = table(&document, "\n## Limits\n");
    let documented = |what: &str| {
        let row = rows
            .iter()
            .find(|row| row[0] == what)
            .unwrap_or_else(|| panic!("FORMATS.md has no limit {what:?}"));
        row[1].replace(' ', "").parse::<usize>().unwrap_or_else(|_| panic!("{row:?} has no number"))
    };
    assert_eq!(documented("format version"), usize::from(FORMAT));
    assert_eq!(documented("format version of shaped records"), usize::from(FORMAT_SHAPED));
    assert_eq!(documented("header"), HEADER_LEN);
    assert_eq!(documented("least record"), encode(&Entry::Removed(version())).len());
    assert_eq!(documented("tags of a record"), Tags::COUNT_MAX);
    assert_eq!(documented("a tag"), Tags::LEN_MAX);
    assert_eq!(documented("a key"), Path::KEY_LEN_MAX);
    assert_eq!(documented("a namespace"), Namespace::LEN_MAX);
    assert_eq!(documented("a Seen"), nanotier_tier::Seen::LEN_MAX);
    assert!(
        format!("{:?}", Framing::default()).contains(&format!("value_len_max: {}", documented("a value")))
    );
}

/// What the document says a reader makes of each kind of damage.
#[test]
fn damage_is_told_apart_as_documented() {
    let namespace = namespace();
    let path = Path::new(&namespace, KEY);
    let good = encode(&Entry::Present(with_tags()));
    let tombstone = encode(&Entry::Removed(version()));
    let read = |bytes: Vec<u8>| Framing::default().decode(&path, &Bytes::from(bytes)).expect_err("damaged");
    let changed = |mut bytes: Vec<u8>, at: usize, to: &[u8]| {
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    // With the checksum right again: a writer's fault, or a forger's.
    let resealed = |mut bytes: Vec<u8>| {
        let body_end = bytes.len() - 4;
        let checksum = crc32c::crc32c(&bytes[..body_end]);
        bytes[body_end..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    };
    let documented: Vec<String> = table(&document(), "\n## Damage\n")
        .iter()
        .map(|row| row[1].clone())
        .filter(|kind| kind != "a value")
        .collect();
    let mut met = Vec::new();
    let mut expect = |bytes: Vec<u8>, kind: Unreadable| {
        assert_eq!(read(bytes), kind);
        met.push(format!("{kind:?}"));
    };

    expect(good[..good.len() - 1].to_vec(), Unreadable::Short);
    expect([&good[..], b"x"].concat(), Unreadable::Short);
    expect(good[..HEADER_LEN].to_vec(), Unreadable::Short);
    expect(changed(good.clone(), 0, b"{\"a\""), Unreadable::NotARecord);
    expect(changed(good.clone(), 4, &[FORMAT_SHAPED + 1]), Unreadable::Unknown);
    // Each format has flags of its own.
    for (format, flags) in [(FORMAT_SHAPED, 0), (FORMAT_SHAPED, 1), (FORMAT_SHAPED, 3), (FORMAT_SHAPED, 0x0a)]
    {
        expect(resealed(changed(good.clone(), 4, &[format, flags])), Unreadable::Unknown);
    }
    for flag in 1..8 {
        expect(resealed(changed(good.clone(), 5, &[1 << flag])), Unreadable::Unknown);
    }
    expect(changed(good.clone(), HEADER_LEN + 20, b"?"), Unreadable::Damaged);
    let other = Path::new(&namespace, &b"another key"[..]);
    let foreign = Framing::default().encode(&other, None, version(), taken_at()).expect("within the limits");
    expect(foreign, Unreadable::Foreign);
    let small = Framing::default().with_value_len_max(3);
    assert_eq!(small.decode(&path, &Bytes::from(good.clone())).expect_err("too large"), Unreadable::TooLarge);
    met.push("TooLarge".to_owned());
    // Usable for a shorter time than fresh; tags out of order; a tombstone that carries something.
    let mut expect = |bytes: Vec<u8>| {
        assert_eq!(read(bytes), Unreadable::Malformed);
        met.push("Malformed".to_owned());
    };
    expect(resealed(changed(good.clone(), 56, &[0; 8])));
    expect(resealed(changed(good.clone(), HEADER_LEN, b"\x03zzz\x04")));
    expect(resealed(changed(good, HEADER_LEN, b"\xff")));
    expect(resealed(changed(tombstone, 64, &[1])));

    met.dedup();
    assert_eq!(met, documented, "every kind of damage, in the document's order");
}
