//! What becomes of HTML, by examples and as properties.

use proptest::prelude::*;

use super::from_html;
use super::page::WIDTH;

fn assert_texts(cases: &[(&str, &str)]) {
    for (html, expected) in cases {
        assert_eq!(from_html(html), *expected, "{html}");
    }
}

#[test]
fn html_becomes_text_as_a_person_would_write_it() {
    assert_texts(&[
        ("<h1>A</h1><p>b\n c</p>  <div>d</div><div>e</div>", "A\n\nb c\n\nd\ne\n"),
        ("a<br>b<br/><br>c", "a\nb\n\nc\n"),
        ("<ul><li>a</li><li><p>b</p></li></ul>c", "- a\n- b\n\nc\n"),
        ("<title>t</title><style>p{}</style><script>x</script><!-- c -->a", "a\n"),
        ("It&#146;s 5&#128; &#150; ok", "It’s 5€ – ok\n"),
        ("&#147;Tea&#148; &#x85; &#149; caf&eacute", "“Tea” … • café\n"),
        ("&euro;&nbsp;5 &#x26; &lt;b&gt; &bogus; R&D &amp", "€ 5 & <b> &bogus; R&D &\n"),
        ("a<hr>b", "a\n\n---\n\nb\n"),
        ("<pre>a  b\n  c</pre>d", "a  b\n  c\n\nd\n"),
        ("1 < 2 & 3 > 2", "1 < 2 & 3 > 2\n"),
        ("<img alt='&amp;lt;'>", "&lt;\n"),
        ("", ""),
    ]);
}

#[test]
fn a_word_with_invisible_characters_in_it_is_one_word() {
    assert_texts(&[
        ("Dampf&shy;schiff", "Dampfschiff\n"),
        ("Dampf\u{ad}schiff&#173;fahrt", "Dampfschifffahrt\n"),
        ("Auf&zwnj;lage", "Auf\u{200c}lage\n"),
        ("👩&zwj;👩&#8205;👧", "👩\u{200d}👩\u{200d}👧\n"),
        ("So&shy;<b>nder</b>&shy;zug Wort<wbr>teil Wort&#x200B;teil", "Sonderzug Wortteil Wortteil\n"),
        ("نامه&zwnj;ای क&zwj;ष", "نامه\u{200c}ای क\u{200d}ष\n"),
        ("Tee&#8203;kanne a\u{2060}b \u{feff}c", "Teekanne ab c\n"),
        ("a&zwnj;&nbsp;&zwnj;&nbsp;&shy;b&#847;&zwnj;&nbsp;&#8199;&#65279;", "a b\n"),
    ]);
}

#[test]
fn cells_of_a_row_are_one_line_where_each_is_one() {
    assert_texts(&[
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc\n"),
        (
            "<table><tr><td><div>Tea</div></td><td><div>2</div></td></tr><tr><td><div>Milk</div></td><td><div>1</div></td></tr></table>",
            "Tea 2\nMilk 1\n",
        ),
        (
            "<table><tr><td><span style='display:block'>Tea</span></td><td><center>2</center></td></tr></table>",
            "Tea 2\n",
        ),
        (
            "<table><tr><td><div><div>Tea</div></div><td><div></div><td><div><b>2</b></div></tr></table>",
            "Tea 2\n",
        ),
        (
            "<table><tr><td><a href=u><div>Pay</div></a></td><td><div>now</div></td></tr></table>",
            "Pay <u> now\n",
        ),
        ("<table><tr><th><h3>Tea</h3></th>\n<td><p>2</p></td></tr></table>after", "Tea 2\n\nafter\n"),
        ("<table><tr><td><p>Tea<td><p>2<tr><td><p>Milk<td><p>1</table>", "Tea 2\n\nMilk 1\n"),
        ("<table><tr><td><div>Tea</div><div>green</div></td><td>2</td></tr></table>", "Tea\ngreen\n2\n"),
        ("<table><tr><td><p>a</p></td></tr><tr><td><p>b</p></td></tr></table>", "a\n\nb\n"),
        ("<table><tr><td></td><td><div>a</div></td></tr><tr><td>b</table>", "a\nb\n"),
        ("<table><tr><td>a</td><td><table><tr><td>b<td>c</table></td><td>d</table>", "a\n\nb c\n\nd\n"),
        ("<table><tr><td><ul><li>a</td><td>b</td></tr></table><p>c", "- a b\n\nc\n"),
    ]);
}

#[test]
fn lists_count_and_are_moved_in() {
    assert_texts(&[
        ("<ol><li>a</li><li>b</li></ol>", "1. a\n2. b\n"),
        ("<ol start=5><li>a<li>b</ol>", "5. a\n6. b\n"),
        ("<ol reversed><li>a<li>b<li>c</ol>", "3. a\n2. b\n1. c\n"),
        ("<ol hidden><li>x</ol><ol reversed><li>a<li>b</ol>", "2. a\n1. b\n"),
        ("<ol reversed start=\"2\"><li>a<li>b<li>c</ol>", "2. a\n1. b\n0. c\n"),
        ("<ol><li>a<li value=10>b<li>c</ol><ol><li>d</ol>", "1. a\n10. b\n11. c\n\n1. d\n"),
        ("<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>", "- a\n  - b\n- c\n"),
        (
            "<ol><li>a<ol reversed><li>b<ul><li>c</ul><li>d</ol><li>e</ol>f",
            "1. a\n   2. b\n      - c\n   1. d\n2. e\n\nf\n",
        ),
        ("<ol><li><ul><li>a</ul></ol>", "1. - a\n"),
        ("<ul><li></li><li>a<p>b</p></li></ul>", "- a\n\n  b\n"),
        ("<li>a<li>b", "- a\n- b\n"),
        ("<ol start=\"0\"><li>a<li>b</ol><ol start=-1><li>c<li>d</ol>", "0. a\n1. b\n\n-1. c\n0. d\n"),
        ("<ol reversed start=10><li>a<li value=3>b<li>c</ol>", "10. a\n3. b\n2. c\n"),
        ("<ol reversed><li>a<ol><li>x<li>y</ol><li>b</ol>", "2. a\n   1. x\n   2. y\n1. b\n"),
        ("<ol><li>a</li><ol><li>b</li></ol><li>c</li></ol>", "1. a\n   1. b\n2. c\n"),
        ("<ol type=a start=26><li>a<li>b</ol>", "z. a\naa. b\n"),
        ("<ol type=\"I\" start=3><li>a<li>b<li value=0>c</ol>", "III. a\nIV. b\n0. c\n"),
        ("<ol type=A reversed><li>a<li>b</ol><ol type=i start=1994><li>c</ol>", "B. a\nA. b\n\nmcmxciv. c\n"),
        (
            "<ol start=x><li value=9223372036854775807>a<li>b</ol>",
            "9223372036854775807. a\n9223372036854775807. b\n",
        ),
    ]);
    let long = from_html(&format!("<ul><li>{}</ul>", "word ".repeat(30)));
    assert!(long.lines().skip(1).all(|line| line.starts_with("  word")), "{long}");
}

#[test]
fn links_keep_their_addresses() {
    assert_texts(&[
        (
            "<a href=\"https://x.example/?a=1&amp;b=2\">Go <b>on</b></a>.",
            "Go on <https://x.example/?a=1&b=2>.\n",
        ),
        ("<a href=\"\n https://x.example/a\t\n \">Go</a>", "Go <https://x.example/a>\n"),
        ("<a href='https://x.example/a\n  b'>Go</a>", "Go <https://x.example/a%20%20b>\n"),
        ("<a href=u>a</a><a href=v>b</a>", "a <u> b <v>\n"),
        ("<span><a href=u>a</a></span><i><a href=v><b>b</b></a></i>", "a <u> b <v>\n"),
        ("<a href=u>a</a><img alt=B><a href=v>c</a>", "a <u> B c <v>\n"),
        ("<td><a href=u>a</a></td><td><a href=v>b</a></td>", "a <u> b <v>\n"),
        ("<a href=\"&#10;https://x.example/a&#9;b\">Go</a>", "Go <https://x.example/ab>\n"),
        ("<a href='\r\n\u{c} https://x.example/a b\u{0} '>Go</a>", "Go <https://x.example/a%20b>\n"),
        ("<a href='\thttps://x.example/a>b'>Go</a>", "Go <https://x.example/a%3Eb>\n"),
        ("<a href=https://u.example>https://u.example</a><a href=v>b</a>", "https://u.example b <v>\n"),
        ("<a href=u><img src=a.png alt=A></a><a href=v><img alt=B></a>c", "A <u> B <v>c\n"),
        ("<img alt=Logo><img alt=Shop>Tea<img alt='.'>", "Logo Shop Tea .\n"),
        ("<a href='https://x.example'>https://x.example</a>", "https://x.example\n"),
        ("<a href=\"mailto:a@b.example\">a@b.example</a> <a href=#top>up</a>", "a@b.example up\n"),
        ("<a href=https://x.example><img src=a.png alt=\"A cup\"></a>", "A cup <https://x.example>\n"),
        ("<a href=https://x.example><img src=a.png></a>", "<https://x.example>\n"),
        ("<a href=https://x.example>open", "open <https://x.example>\n"),
        ("<a href=u><p>a</p></a><p>b</p>", "a <u>\n\nb\n"),
    ]);
}

#[test]
fn a_link_whose_text_says_where_it_leads_is_not_written_twice() {
    assert_texts(&[
        ("<a href=\"tel:+49228123456\">+49 228 / 123-456</a>", "+49 228 / 123-456\n"),
        ("<a href='TEL:+1-800-555-0199;ext=5'>1 (800) 555 0199</a>", "1 (800) 555 0199\n"),
        ("<a href=\"tel:+49228123456\">Call us</a>", "Call us <tel:+49228123456>\n"),
        ("<a href=tel:>0</a>", "0 <tel:>\n"),
        ("<a href='sms:+4917012345?body=Hi'>+49 170 12345</a>", "+49 170 12345\n"),
        (
            "<a href=\"mailto:Help@shop.example?subject=Order%201\">help@shop.example</a>",
            "help@shop.example\n",
        ),
        ("<a href=\"mailto:help@shop.example\">Write to us</a>", "Write to us <mailto:help@shop.example>\n"),
        ("<a href=\"javascript:void(0)\">Print</a>", "Print\n"),
    ]);
}

#[test]
fn an_element_that_is_a_line_by_its_style_is_one() {
    assert_texts(&[
        ("<span style=\"display:block\">a</span><span style='DISPLAY: Block'>b</span>c", "a\nb\nc\n"),
        ("<a href=u style=\"display:block\">a</a><a href=v style=\"display:block\">b</a>", "a <u>\nb <v>\n"),
        ("x<b style=\"display:table\">a <b>b</b> c</b>d", "x\na b c\nd\n"),
        ("<b style=\"display:inline-block\">a</b><b style=\"display:block;display:inline\">b</b>", "ab\n"),
        (
            "<table><tr><td style=\"display:block\">Tea</td><td style=\"display:block\"><i style='display:block'>2</i></td></tr><tr><td>Milk</table>",
            "Tea 2\nMilk\n",
        ),
        ("<span style='display:block'>a", "a\n"),
    ]);
}

#[test]
fn lines_are_kept_where_the_style_or_the_element_says_so() {
    assert_texts(&[
        (
            "<p style=\"white-space: pre-line\">Dear Ann,\n\n  your   tea\nis here.</p>b\nc",
            "Dear Ann,\n\nyour tea\nis here.\n\nb c\n",
        ),
        ("<td style='white-space:pre-wrap'>a\nb <b>c\nd</b></td> e\nf", "a\nb c\nd e f\n"),
        ("<p style='white-space:pre-line'>a\nb<p>c\nd", "a\nb\n\nc d\n"),
        ("<p style='white-space:nowrap'>a\nb", "a b\n"),
        ("<pre>a <b>b</b>  c\r\n  <i>d</i>\n</pre>", "a b  c\n  d\n"),
        ("<pre>x\n\n<b>  y </b>\nz &lt;</pre>w\nv", "x\n\n  y\nz <\n\nw v\n"),
    ]);
}

#[test]
fn html_of_real_mails_is_read_as_meant() {
    assert_texts(&[
        (
            "<!--[if mso]><p>Outlook</p><![endif]--><!--[if !mso]><!--><p>others</p><!--<![endif]-->",
            "others\n",
        ),
        ("<![if !mso]>a<![endif]>b<!-- x --!>c", "abc\n"),
        ("<style>a{}</style><style media=print>b{}</style><STYLE>c{}</STYLE >d", "d\n"),
        ("<noscript>a</noscript><svg><title>t</title></svg><o:p>&nbsp;</o:p>b", "a b\n"),
        (
            "<table role=presentation><tr><td><table><tr><td><table><tr><td>a</table></table><tr><td>b</table>c",
            "a\n\nb\n\nc\n",
        ),
        (
            "<table><tr><td width=1 style='font-size:0'>&nbsp;</td><td>a</td><td>&#8203;</td></tr></table>b",
            "a\n\nb\n",
        ),
        (
            "<table><tr><td><ul><li>a<li>b</ul></td><td><ol><li>c</ol></td></tr></table>d",
            "- a\n- b\n\n1. c\n\nd\n",
        ),
        ("<table><tr><td>• </td><td>a</td></tr><tr><td>•</td><td>b<br>c</td></tr></table>", "• a\n• b\nc\n"),
        ("<p dir=rtl>שלום&rlm; <bdi>Ann</bdi>&lrm;!</p>", "שלום\u{200f} Ann\u{200e}!\n"),
        ("<p>👍🏽 ❤️ 1️⃣ 🏳️&zwj;🌈 &#x1F1E9;&#x1F1EA;", "👍🏽 ❤️ 1️⃣ 🏳️\u{200d}🌈 🇩🇪\n"),
        ("Donau<wbr>dampf&shy;schiff&ZeroWidthSpace;fahrt", "Donaudampfschifffahrt\n"),
        ("a&nbsp;&nbsp;&ensp;b&Tab;c&NewLine;d &hellip;&apos;&ndash;&#8217;&trade;", "a b c d …'–’™\n"),
        ("<a href=u><img src=a.png alt=\"\"></a><a href=v><img src=b.png alt=\" \"></a>", "<u> <v>\n"),
        ("<a href=u><table><tr><td>Pay</td></tr></table></a>", "Pay <u>\n"),
        (
            "<h1>a</h1>\n<figure><img alt=b><figcaption>c</figcaption></figure><details><summary>d</summary>e</details>",
            "a\n\nb\nc\nd\ne\n",
        ),
        ("<menu><li>a<li>b</menu>c", "- a\n- b\n\nc\n"),
        ("<center>a</center><font color=red>b</font><blink>c</blink><marquee>d</marquee>", "a\nbcd\n"),
        ("Price: <s>€10</s> <b>€8</b><sup>*</sup>", "Price: €10 €8*\n"),
        ("<P>a</P ><BR /><p/>b<p", "a\n\nb\n"),
        ("<div>a<div>b</div></div><p></p><p>&nbsp;</p><p>c", "a\nb\n\nc\n"),
    ]);
}

#[test]
fn hidden_text_ends_where_its_element_ends_though_no_tag_says_so() {
    for (html, expected) in [
        ("<p>a <embed hidden>b<video><source hidden></video> c</p>", "a b c\n"),
        ("<div><p hidden>x<p>a</div>b", "a\nb\n"),
        ("<div><p hidden>x</div>b", "b\n"),
        ("<p hidden>x<table><tr><td>a</table>", "a\n"),
        ("<ul><li hidden>x<ul><li>x</ul>x<li>a</ul>b", "- a\n\nb\n"),
        ("<ul><li>a<li style='display:none'>x</ul>b", "- a\n\nb\n"),
        ("<table><tr><td hidden>x<table><tr><td>x</table>x<td>a<tr><td>b</table>", "a\nb\n"),
        ("<table><tr hidden><td>x<tr><td>a</table>", "a\n"),
        ("<table><tr hidden><td>x</table>a", "a\n"),
        ("<dl><dt hidden>x<dd>a<dd hidden>x</dl>b", "a\n\nb\n"),
        ("<div hidden>x<p>x<div>x</div>x</div>a", "a\n"),
        ("<div style='display:none'>x<br><img alt=x></div>a", "a\n"),
    ] {
        assert_eq!(from_html(html), expected, "{html}");
    }
}

#[test]
fn hidden_text_is_left_out() {
    for hiding in [
        "hidden",
        "style=\"color:red; DISPLAY: none !important\"",
        "style=\"mso-hide:all\"",
        "style='max-height:0'",
        "style='max-height: 0px; overflow: hidden'",
        "style='opacity:0.0'",
        "hidden=until-found",
        "style='height:0;width:1px;overflow:hidden'",
        "style='overflow: clip; max-width: 0px'",
        "style='mso-hide:all;font-size:0;line-height:0'",
        "style='a:url(x;y);DISPLAY:none'",
        "style='max-height:0px;max-width:0px;opacity:0;overflow:hidden'",
        "style=visibility:hidden",
        "style='display:block;display:none'",
    ] {
        let html = format!("<div {hiding}><div>x</div>y</div>z");
        assert_eq!(from_html(&html), "z\n", "{hiding}");
    }
    for shown in [
        "style='display:none;display:block'",
        "style='max-height:0.5em'",
        "style='height:0'",
        "style='overflow:hidden;width:100%'",
        "style='overflow:hidden;height:0;height:auto'",
        "style='max-height:100px'",
        "style='opacity:.5'",
        "class=hidden",
        "style='mso-hide:none'",
    ] {
        assert_eq!(from_html(&format!("<div {shown}>y</div>")), "y\n", "{shown}");
    }
    // A button for all programs but Outlook for Windows.
    assert_eq!(from_html("<a style='mso-hide:all' href=u>Pay</a>"), "Pay <u>\n");
    assert_eq!(from_html("<div style='mso-hide:all'><a href=u>Pay</a></div>"), "Pay <u>\n");
}

#[test]
fn lines_are_broken_before_column_78() {
    let text = from_html(&format!(
        "<p>{}</p><a href=\"https://x.example/{}\">x</a>",
        "word ".repeat(100),
        "y".repeat(200)
    ));
    assert!(text.lines().filter(|line| !line.contains("https")).all(|line| line.chars().count() <= WIDTH));
    assert!(text.contains(&format!("<https://x.example/{}>", "y".repeat(200))));
}

/// HTML of elements in elements, and its words in order; each stands for itself as `@`.
fn document() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        " @ ",
        " @ &nbsp;@ ",
        "<img alt='@'>",
        " @<br>@ ",
        "<hr>",
        " <b>@ </b>",
        "<div style='display:none'>hidden</div>",
        "<span hidden>hidden</span>",
        "<!-- hidden --><style>hidden</style>",
        "<p style='max-height:0'>hidden</p>",
        "&zwnj;&shy;",
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(5, 60, 4, |inner| {
        let wrapped = prop::sample::select(vec![
            ("<p>", "</p>"),
            ("<div>", "</div>"),
            (" <i>", "</i> "),
            ("<h2>", "</h2>"),
            ("<ul><li>", "</li></ul>"),
            ("<ol start=3><li>", "<li>@</ol>"),
            ("<ol reversed><li>@</li><li>", "</li></ol>"),
            ("<table><tr><td>", "</td></tr></table>"),
            ("<table><tr><td>@</td><td>", "</td><td><div>@</div></td></tr></table>"),
            ("<table><tr><th>@<td>", "<tr><td>@</table>"),
            ("<blockquote>", "</blockquote>"),
        ]);
        (wrapped, prop::collection::vec(inner, 1..4))
            .prop_map(|((open, close), inside)| format!("{open}{}{close}", inside.concat()))
    })
}

proptest! {
    #[test]
    fn every_visible_word_is_there_once_and_in_order(document in document()) {
        let mut html = String::new();
        for (number, piece) in document.split('@').enumerate() {
            if number > 0 {
                html.push_str(&format!("w{number}w"));
            }
            html.push_str(piece);
        }
        let text = from_html(&html);
        let words: Vec<_> = text.split_whitespace().filter(|word| word.starts_with('w')).collect();
        let expected: Vec<_> = (1..=document.matches('@').count()).map(|number| format!("w{number}w")).collect();
        prop_assert_eq!(words, expected, "{} became {}", html, text);
        prop_assert!(!text.contains("hidden"), "{} became {}", html, text);
    }

    #[test]
    fn any_html_becomes_text_without_a_panic_and_without_losing_a_link(pieces in prop::collection::vec(prop::sample::select(vec![
        "<a href=u>", "</a>", "<p>", "</p>", "<li>", "<b style='display:none'>", "</b>", "<pre>", "</pre>", "&", "&amp;", "&#0;", "&#xD800;",
        "&#99999999;", ";", "é", "日 ", " ", "\n", "<br>", "<", ">", "<td>", "<!--", "-->", "x", "<img alt='", "'>", "<a href=\"&eacute;\">",
        "<table>", "</table>", "<tr>", "</td>", "<ol reversed>", "</ol>", "<ul>", "</li>", "&#146", "<ol start='-1'>",
    ]), 0..40)) {
        from_html(&pieces.concat());
        let visible: Vec<_> = pieces.into_iter().filter(|piece| ["<p>", "</p>", "</a>", "x", "<a href=u>", "<li>", "<td>"].contains(piece)).collect();
        let text = from_html(&visible.concat());
        prop_assert_eq!(text.matches("<u>").count(), visible.iter().filter(|piece| **piece == "<a href=u>").count());
    }
}
