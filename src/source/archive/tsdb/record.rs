//! The records of a write-ahead log, entry by entry.
//!
//! Source: Prometheus' `tsdb/record/record.go`.

use super::index::Cursor;

/// What a record says.
#[derive(Debug, PartialEq)]
pub(super) enum Entry<'a> {
    /// From here on `reference` is the series with these labels.
    Series {
        reference: u64,
        labels: Vec<(&'a str, &'a str)>,
    },
    Sample {
        reference: u64,
        unix_ms: i64,
        value: f64,
    },
    /// Both ends included.
    Deleted {
        reference: u64,
        from_ms: i64,
        to_ms: i64,
    },
    /// The record holds native histograms.
    Native,
    /// Samples before this are in blocks.
    Oldest(i64),
    /// The record is of a kind that is not known here.
    Unknown(u8),
}

/// Hands the entries of a record to `each`; `None` if it is damaged.
pub(super) fn entries<'a>(record: &'a [u8], mut each: impl FnMut(Entry<'a>)) -> Option<()> {
    let mut cursor = Cursor::new(record, 0);
    match cursor.u8()? {
        1 => {
            while !cursor.is_at_end() {
                each(Entry::Series { reference: cursor.u64()?, labels: labels(&mut cursor)? });
            }
        }
        2 => samples(&mut cursor, each)?,
        3 => {
            while !cursor.is_at_end() {
                let (reference, from_ms, to_ms) = (cursor.u64()?, cursor.varint()?, cursor.varint()?);
                each(Entry::Deleted { reference, from_ms, to_ms });
            }
        }
        // Exemplars, marks of what is elsewhere too, and help texts.
        4..=6 => {}
        7..=10 | 12 | 13 => each(Entry::Native),
        11 => samples_with_starts(&mut cursor, each)?,
        14 => each(Entry::Oldest(cursor.u64()? as i64)),
        kind => each(Entry::Unknown(kind)),
    }
    Some(())
}

fn labels<'a>(cursor: &mut Cursor<'a>) -> Option<Vec<(&'a str, &'a str)>> {
    let mut labels = Vec::new();
    for _ in 0..cursor.uvarint()? {
        labels.push((cursor.text()?, cursor.text()?));
    }
    Some(labels)
}

/// Each as its difference from the head of the record.
fn samples<'a>(cursor: &mut Cursor<'a>, mut each: impl FnMut(Entry<'a>)) -> Option<()> {
    if cursor.is_at_end() {
        return Some(());
    }
    let (first, first_ms) = (cursor.u64()?, cursor.u64()? as i64);
    while !cursor.is_at_end() {
        let reference = first.wrapping_add_signed(cursor.varint()?);
        let unix_ms = first_ms.wrapping_add(cursor.varint()?);
        each(Entry::Sample { reference, unix_ms, value: f64::from_bits(cursor.u64()?) });
    }
    Some(())
}

/// The references as differences from the one before, and with each sample the time at which its series started, which
/// nobody asks for here.
fn samples_with_starts<'a>(cursor: &mut Cursor<'a>, mut each: impl FnMut(Entry<'a>)) -> Option<()> {
    const EXPLICIT: u8 = 2;
    let mut before: Option<(u64, i64)> = None;
    while !cursor.is_at_end() {
        let (reference, unix_ms, first_ms) = match before {
            None => {
                let (reference, first_ms) = (cursor.varint()? as u64, cursor.varint()?);
                cursor.varint()?;
                (reference, first_ms, first_ms)
            }
            Some((reference, first_ms)) => {
                let reference = reference.wrapping_add_signed(cursor.varint()?);
                let unix_ms = first_ms.wrapping_add(cursor.varint()?);
                if cursor.u8()? >= EXPLICIT {
                    cursor.varint()?;
                }
                (reference, unix_ms, first_ms)
            }
        };
        before = Some((reference, first_ms));
        each(Entry::Sample { reference, unix_ms, value: f64::from_bits(cursor.u64()?) });
    }
    Some(())
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn uvarint(out: &mut Vec<u8>, mut value: u64) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }

    fn varint(out: &mut Vec<u8>, value: i64) {
        uvarint(out, (value << 1 ^ value >> 63) as u64);
    }

    pub fn series(reference: u64, labels: &[(&str, &str)]) -> Vec<u8> {
        let mut out = [&[1][..], &reference.to_be_bytes()].concat();
        uvarint(&mut out, labels.len() as u64);
        for text in labels.iter().flat_map(|(name, value)| [name, value]) {
            uvarint(&mut out, text.len() as u64);
            out.extend(text.bytes());
        }
        out
    }

    pub fn samples(list: &[(u64, i64, f64)]) -> Vec<u8> {
        let mut out = vec![2];
        if let Some((first, first_ms, _)) = list.first() {
            out.extend(first.to_be_bytes());
            out.extend(first_ms.to_be_bytes());
            for (reference, unix_ms, value) in list {
                varint(&mut out, reference.wrapping_sub(*first) as i64);
                varint(&mut out, unix_ms - first_ms);
                out.extend(value.to_bits().to_be_bytes());
            }
        }
        out
    }

    /// The second and each further sample has a start of its own, the same as the one before, or none.
    pub fn samples_with_starts(list: &[(u64, i64, f64)]) -> Vec<u8> {
        let mut out = vec![11];
        for (number, (reference, unix_ms, value)) in list.iter().enumerate() {
            match number.checked_sub(1) {
                None => [*reference as i64, *unix_ms, unix_ms - 5].into_iter().for_each(|part| varint(&mut out, part)),
                Some(before) => {
                    varint(&mut out, reference.wrapping_sub(list[before].0) as i64);
                    varint(&mut out, unix_ms - list[0].1);
                    out.push((number % 3) as u8);
                    if number % 3 == 2 {
                        varint(&mut out, -77);
                    }
                }
            }
            out.extend(value.to_bits().to_be_bytes());
        }
        out
    }

    pub fn deleted(reference: u64, from_ms: i64, to_ms: i64) -> Vec<u8> {
        let mut out = [&[3][..], &reference.to_be_bytes()].concat();
        varint(&mut out, from_ms);
        varint(&mut out, to_ms);
        out
    }

    fn read(record: &[u8]) -> (Vec<Entry<'_>>, bool) {
        let mut found = Vec::new();
        let whole = entries(record, |entry| found.push(entry)).is_some();
        (found, whole)
    }

    #[test]
    fn every_kind() {
        let one = |record: &[u8], expected: Entry| assert_eq!(read(record), (vec![expected], true));
        let labels = [("__name__", "m_bucket"), ("le", "0.1"), ("path", "/ü")];
        one(&series(7, &labels), Entry::Series { reference: 7, labels: labels.to_vec() });
        one(&deleted(7, -5, 1_772_366_400_000), Entry::Deleted { reference: 7, from_ms: -5, to_ms: 1_772_366_400_000 });
        one(&[[14].as_slice(), &5000i64.to_be_bytes()].concat(), Entry::Oldest(5000));
        for kind in [7, 8, 9, 10, 12, 13] {
            one(&[kind, 1, 2, 3], Entry::Native);
        }
        one(&[99, 1], Entry::Unknown(99));
        for kind in [1, 2, 3, 4, 5, 6, 11] {
            assert_eq!(read(&[kind]), (vec![], true));
        }
        assert_eq!(read(&[]), (vec![], false));
        assert_eq!(read(&[14, 0]), (vec![], false));
    }

    proptest! {
        #[test]
        fn samples_are_read_as_written(
            list in prop::collection::vec((1..1u64 << 40, 0..1i64 << 42, any::<u32>().prop_map(f64::from)), 0..50),
            noise in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let expected: Vec<Entry> =
                list.iter().map(|(reference, unix_ms, value)| Entry::Sample { reference: *reference, unix_ms: *unix_ms, value: *value }).collect();
            for record in [samples(&list), samples_with_starts(&list)] {
                prop_assert_eq!(&read(&record), &(expected.iter().map(copy).collect::<Vec<_>>(), true));
                if record.len() > 1 {
                    prop_assert!(!read(&record[..record.len() - 1]).1);
                }
            }
            let _ = read(&noise);
        }
    }

    fn copy(entry: &Entry) -> Entry<'static> {
        let Entry::Sample { reference, unix_ms, value } = *entry else { unreachable!() };
        Entry::Sample { reference, unix_ms, value }
    }
}
