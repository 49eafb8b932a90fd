//! What framing a record costs: header, digest of the path, checksum, one copy of the value.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nanotier_tier::record::Framing;
use nanotier_tier::{Bytes, Encoded, Fingerprint, Namespace, Path, Record, Timestamp, Version};

fn record(criterion: &mut Criterion) {
    let framing = Framing::default();
    let namespace = Namespace::new("bench").expect("a good name");
    let path = Path::new(&namespace, &b"user:0123456789abcdef0123456789ab"[..]);
    let now = Timestamp::from_millis(1_700_000_000_000);
    let mut group = criterion.benchmark_group("record");
    for len in [256_usize, 1024] {
        let value = Encoded::new(Bytes::from(vec![7; len]), Fingerprint(1));
        let record = Record { version: Version::from_parts(1 << 40, 7), ..Record::new(value, now) };
        let encoded = framing.encode(&path, Some(&record), record.version, now).expect("within the limits");
        let encoded = Bytes::from(encoded);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(format!("encode/{len}"), |b| {
            b.iter(|| black_box(framing.encode(&path, Some(black_box(&record)), record.version, now)));
        });
        group.bench_function(format!("decode/{len}"), |b| {
            b.iter(|| black_box(framing.decode(&path, black_box(&encoded))));
        });
    }
    group.finish();
}

criterion_group!(benches, record);
criterion_main!(benches);
