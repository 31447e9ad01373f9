/** Text that goes into a page: everything that comes from outside passes through one of these. */

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** For text between tags and for quoted attributes. */
export function escapeText(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => ENTITIES[character]!);
}

/** JSON for a `<script type="application/json">`: no `<`, so neither `</script` nor `<!--` can appear. */
export function embedJson(value: unknown): string {
  return JSON.stringify(value).replaceAll('<', '\\u003c');
}

/** Source text for a `<script>`. In strings and regular expressions `<\/script` means the same. */
export function embedScript(source: string): string {
  return source.replaceAll(/<\/(?=script)/gi, '<\\/').replaceAll('<!--', '<\\!--');
}

/** Source text for a `<style>`. */
export function embedStyle(source: string): string {
  return source.replaceAll(/<\/(?=style)/gi, '<\\/');
}
