"""Looks at every HTML file of a folder in one headless Chromium, over the DevTools protocol on a pipe.

Arguments: the folder of the pages, the folder for the pictures. Prints one JSON object: how many looks there were, and
which pages have something wider than the page.
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


class Looker(Browser):
    def look(self, page, width, scheme, picture):
        """Shows the page so, keeps a picture, and returns what is wrong with it."""
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        seen = self.ask("Runtime.evaluate", expression=TOO_WIDE, returnByValue=True)["result"]["value"]
        self.picture(picture, width, seen["height"])
        if seen["inner"] != width or seen["scroll"] > width or seen["names"]:
            return [{"page": page.name, "width": width, "scheme": scheme, **seen}]
        return []


def main():
    pages, pictures = map(pathlib.Path, sys.argv[1:])
    looks, too_wide = 0, []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Looker(profile, "--blink-settings=imagesEnabled=false", "--host-resolver-rules=MAP * ~NOTFOUND")
        try:
            for page in sorted(pages.glob("*.html")):
                browser.ask("Page.navigate", until="Page.loadEventFired", url=page.as_uri())
                for width in WIDTHS:
                    for scheme in SCHEMES:
                        too_wide += browser.look(page, width, scheme, pictures / f"{page.stem}.{width}.{scheme}.png")
                        looks += 1
        finally:
            browser.end()
    print(json.dumps({"looks": looks, "too_wide": too_wide}))


main()
