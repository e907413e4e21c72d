use super::log::{Log, check, keys, origin};
use crate::audit::export::*;
use crate::audit::*;

#[test]
fn the_lines_stand_in_their_order_and_come_back() {
    let log = Log::new(5, &[2, 5]);
    let export = log.export();
    let mut reader = Reader::new(&export[..]);
    let mut seen = Vec::new();
    while let Some(line) = reader.next_line().unwrap() {
        seen.push(line.unwrap());
    }
    let mut expected = vec![Line::Header {
        origin: origin(),
        vkey: Some(keys()[0].to_string()),
    }];
    expected.extend(log.records[..2].iter().cloned().map(Line::Record));
    expected.push(Line::Checkpoint(log.checkpoints[0].1.clone()));
    expected.extend(log.records[2..].iter().cloned().map(Line::Record));
    expected.push(Line::Checkpoint(log.checkpoints[1].1.clone()));
    expected.push(Line::End(5));
    assert_eq!(seen, expected);
    assert_eq!(reader.line_number(), 9);
}

#[test]
fn any_bytes_survive() {
    for record in [
        &b"plain"[..],
        b"",
        "quote \" back \\ line \n tab \t nul \0 del \u{7f} \u{2028} \u{1f600}".as_bytes(),
        b"\xff\xfe not utf-8",
    ] {
        let line = record_line(7, &[3; 32], record);
        let parsed = parse_line(line.strip_suffix(b"\n").unwrap()).unwrap();
        let expected = StoredRecord {
            seq: 7,
            leaf: [3; 32],
            record: record.to_vec(),
        };
        assert_eq!(parsed, Line::Record(expected));
    }
}

#[test]
fn other_spellings_of_a_line_are_refused() {
    for text in [
        "",
        "{}",
        "null",
        r#"{"end":3} "#,
        r#"{"end":03}"#,
        r#"{"end":-3}"#,
        r#"{"end":3,"end":3}"#,
        r#"{"end":3,"x":1}"#,
        r#"{"checkpoint":"\u0061"}"#,
        r#"{"checkpoint":null}"#,
        r#"{"seq":1,"leaf":"AAAA","record":""}"#,
        r#"{"seq":1,"leaf":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}"#,
        r#"{"seq":1,"leaf":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=","record":""}"#,
        r#"{"seq":1,"leaf":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","record64":"AAAA"}"#,
        r#"{"seq":1,"leaf":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","record":"","record64":""}"#,
        r#"{"leaf":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","seq":1,"record":""}"#,
        r#"{"v":2,"deployment":"d","node":"n","epoch":1}"#,
        r#"{"v":1,"deployment":"D","node":"n","epoch":1}"#,
    ] {
        assert_eq!(parse_line(text.as_bytes()), Err(LineError), "{text}");
    }
}

#[test]
fn an_endless_line_is_not_read_into_memory() {
    let mut export = header_line(&origin(), None);
    export.extend(vec![b'x'; 3 * MAX_LINE_BYTES]);
    export.push(b'\n');
    export.extend(end_line(0));
    let mut reader = Reader::new(&export[..]);
    assert!(reader.next_line().unwrap().unwrap().is_ok());
    assert_eq!(reader.next_line().unwrap(), Some(Err(LineError)));
    assert_eq!(reader.next_line().unwrap(), Some(Ok(Line::End(0))));
    assert_eq!(reader.next_line().unwrap(), None);
}

#[test]
fn a_fault_while_exporting_leaves_a_file_without_its_last_line() {
    let log = Log::new(3, &[3]);
    let mut out = Vec::new();
    let broken = log.records[..2].iter().cloned().map(Ok);
    let broken = broken.chain([Err(std::io::Error::other("lost"))]);
    assert!(write_to(&mut out, &origin(), None, broken, []).is_err());
    assert!(check(&out, &[]).findings.contains(&Finding::Truncated));
}
