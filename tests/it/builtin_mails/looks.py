"""Looks at every HTML file of a folder in one headless Chromium, over the DevTools protocol on a pipe.

Arguments: the folder of the pages, the folder for the pictures, axe.min.js. Prints one JSON object: how many looks there
were, and what is wrong with which page: what is wider than the page, and what axe finds in the usual ones, of which a picture
is kept. No image is loaded.
"""

WIDTHS = (320, 600)
SCHEMES = ("light", "dark")

# What reaches beyond the right border; what is hidden takes no room.
TOO_WIDE = """(() => {
    const page = document.documentElement;
    const beyond = [...document.querySelectorAll("body *")].filter((element) => {
        const box = element.getBoundingClientRect();
        return box.width > 0 && box.height > 0 && box.right > innerWidth + 1;
    });
    const names = beyond.slice(0, 3).map((element) => element.outerHTML.slice(0, 120));
    return { inner: innerWidth, scroll: page.scrollWidth, height: page.scrollHeight, names };
})()"""

# Contrast, words for images and links, languages: what the Web Content Accessibility Guidelines ask for.
AXE = """axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"] }).then(({ violations }) => violations.map(
    ({ id, nodes }) => `${id}: ${nodes[0].html.slice(0, 200)} ${nodes[0].any[0]?.message ?? ""}`))"""


class Looker(Browser):
    def look(self, page, width, scheme, picture):
        """Shows the page so, keeps a picture of a usual one, and returns what is wrong with it."""
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        seen = self.evaluate(TOO_WIDE)
        is_too_wide = seen["inner"] != width or seen["scroll"] > width or seen["names"]
        wrong = [seen] if is_too_wide else []
        if page.name.startswith("usual"):
            self.picture(picture, width, seen["height"])
            wrong += self.evaluate(AXE)
        return [{"page": page.name, "width": width, "scheme": scheme, "wrong": it} for it in wrong]


def main():
    pages, pictures, axe = map(pathlib.Path, sys.argv[1:])
    axe = axe.read_text()
    looks, wrong = 0, []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Looker(profile, "--blink-settings=imagesEnabled=false", "--host-resolver-rules=MAP * ~NOTFOUND")
        try:
            for page in sorted(pages.glob("*.html")):
                browser.ask("Page.navigate", until="Page.loadEventFired", url=page.as_uri())
                if page.name.startswith("usual"):
                    browser.evaluate(axe + "; 0")
                for width in WIDTHS:
                    for scheme in SCHEMES:
                        wrong += browser.look(page, width, scheme, pictures / f"{page.stem}.{width}.{scheme}.png")
                        looks += 1
        finally:
            browser.end()
    print(json.dumps({"looks": looks, "wrong": wrong}))


main()
