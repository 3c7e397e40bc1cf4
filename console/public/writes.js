/** Insert, edit and delete, each one SQL procedure call; a refusal is said in words. */

import { askForRow, askToDelete, sentenceOf } from "./dialogs.js";
import { put } from "./json.js";
import { notify } from "./notices.js";
import { whyReadOnly } from "./tables.js";

/**
 * @typedef {import("./tables.js").Table} Table
 * @typedef {import("./connection.js").Answer} Answer
 * @typedef {{ pk: string, row: import("./live.js").Row,
 *   column: import("./values.js").Column }} Target
 */

export class Writes {
  /**
   * @param {import("./connection.js").Connection} connection
   * @param {(answer: Answer, onSeen: () => void) => void} onWrote
   */
  constructor(connection, onWrote) {
    this.connection = connection;
    this.onWrote = onWrote;
  }

  /**
   * Whether rows of the table can be addressed; says why when they cannot.
   *
   * @param {Table | undefined} table
   */
  canWrite(table) {
    if (table === undefined) return false;
    const why = whyReadOnly(table);
    if (why !== null) notify(why);
    return why === null;
  }

  /**
   * @param {Table | undefined} table
   * @param {Target} target
   * @param {any} value
   */
  async update(table, { pk, column }, value) {
    if (table === undefined || !this.canWrite(table)) return;
    const updates = {};
    put(updates, column.name, value);
    const payload = { primaryKeyColumn: table.primaryKey[0], primaryId: pk, updates };
    try {
      const answer = await this.connection.rpc("UPDATE_SINGLE", { table: table.name, payload });
      const isNothing = Array.isArray(answer.data) && answer.data.length === 0;
      if (isNothing) notify("Nothing was changed: that row is gone.", "trouble");
      else this.onWrote(answer, () => {});
    } catch (error) {
      notify(sentenceOf(error), "trouble");
    }
  }

  /**
   * @param {Table | undefined} table
   * @param {(pk: string) => boolean} select makes a row the active one, if it is on the page
   */
  insert(table, select) {
    if (table === undefined || !table.live) return;
    const { name, columns, primaryKey } = table;
    const primaryKeyColumn = primaryKey[0];
    askForRow(name, columns, primaryKey, async (row) => {
      const payload = { primaryKeyColumn, row };
      const answer = await this.connection.rpc("ADD_SINGLE", { table: name, payload });
      const added = Array.isArray(answer.data) ? answer.data[0] : undefined;
      this.onWrote(answer, () => {
        if (primaryKey.length !== 1 || primaryKeyColumn === undefined || added === undefined)
          return;
        const isOnPage = select(String(added[primaryKeyColumn]));
        if (!isOnPage) notify("Inserted. The row is outside this page.");
      });
    });
  }

  /**
   * @param {Table | undefined} table
   * @param {Target | null} target
   */
  remove(table, target) {
    if (table === undefined || target === null || !this.canWrite(table)) return;
    const { pk, row } = target;
    askToDelete(table.name, pk, row, table.columns, async () => {
      const payload = { primaryKeyColumn: table.primaryKey[0], primaryId: pk };
      try {
        const answer = await this.connection.rpc("DELETE_ROW", { table: table.name, payload });
        if (answer.data === false) notify("Nothing was deleted: that row is gone.", "trouble");
        else this.onWrote(answer, () => {});
      } catch (error) {
        notify(sentenceOf(error), "trouble");
      }
    });
  }
}
