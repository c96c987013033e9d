"""Words that say nothing by themselves, by language, in the form of `router.perceive.text.dependence.references`.

| table | what its words do |
|---|---|
| `PARTS` | name a part or a property of an answer: example, step, second line, reason |
| `FILLERS` | have no content of their own: articles, prepositions, question words, please |
| `TARGETS` | name a language or a format for an answer, in any language: Python, French, a table |
"""

PARTS = {
    "en": "example examples detail details step steps part parts reason reasons result results output answer answers"
    " code version versions line lines paragraph paragraphs sentence sentences word words option options point points"
    " source sources title ending beginning intro introduction conclusion tone style list summary first second third"
    " fourth fifth last middle end explanation alternative alternatives variant draft function variable complexity"
    " pros cons format half rhyme rhymes bug error errors edge case cases comments tests wording difference proof"
    " numbers number formula calculation method approach logic solution meaning mistake exceptions exception"
    " assumption assumptions limitations advantages disadvantages benefits risks name names term terms others"
    " possibilities possibility evidence claim topic ways recipe story",
    "de": "beispiel beispiele detail details schritt schritte teil grund gründe ergebnis antwort code version zeile"
    " absatz satz wort wörter wörtern option punkt punkte quelle quellen titel ende anfang ton stil liste erste ersten"
    " zweite zweiten dritte dritten letzte letzten sätze sätzen erklärung alternative vorschlag fehler stichpunkte"
    " zahl zahlen formel rechnung rechenweg methode ansatz lösung bedeutung ausnahmen ausnahme annahme vorteile"
    " nachteile möglichkeiten möglichkeit optionen argumente begründung weg einleitung",
    "fr": "exemple exemples détail détails étape étapes partie raison résultat réponse code version ligne paragraphe"
    " phrase phrases mot mots option point points source sources titre fin début ton style liste premier première"
    " deuxième second troisième dernier dernière explication alternative erreur chiffre chiffres nombre nombres"
    " formule calcul méthode approche solution sens exceptions exception avantages inconvénients possibilités façon"
    " manière introduction",
    "es": "ejemplo ejemplos paso pasos parte razón resultado respuesta código versión línea párrafo frase frases"
    " palabra palabras opción punto puntos fuente fuentes título final principio tono estilo lista primero primera"
    " segundo segunda tercero tercera último última explicación alternativa error número números fórmula cálculo"
    " método enfoque solución significado excepciones excepción ventajas desventajas opciones posibilidades manera"
    " forma introducción",
    "it": "esempio esempi dettaglio passo passi parte motivo risultato risposta codice versione riga paragrafo frase"
    " frasi parola parole opzione punto punti fonte fonti titolo fine inizio tono stile lista primo prima secondo"
    " seconda terzo ultimo ultima spiegazione alternativa errore numero numeri formula calcolo metodo approccio"
    " soluzione significato eccezioni vantaggi svantaggi opzioni possibilità modo introduzione",
    "pt": "exemplo exemplos detalhe passo passos parte motivo razão resultado resposta código versão linha parágrafo"
    " frase frases palavra palavras opção ponto pontos fonte fontes título fim início tom estilo lista primeiro"
    " primeira segundo segunda terceiro último última explicação erro número números fórmula cálculo método abordagem"
    " solução significado exceções vantagens desvantagens opções possibilidades maneira forma introdução",
    "nl": "voorbeeld voorbeelden detail details stap stappen deel reden resultaat antwoord code versie regel alinea"
    " zin zinnen woord woorden optie punt bron bronnen titel einde begin toon stijl lijst eerste tweede derde laatste"
    " fout getal getallen formule berekening methode aanpak oplossing betekenis uitzonderingen voordelen nadelen"
    " mogelijkheden manier inleiding",
    "sv": "exempel detaljer steg del skäl resultat svar svaret kod koden version rad stycke mening meningar ord punkt"
    " källa titel slut början ton stil lista första andra tredje sista",
    "da": "eksempel detaljer trin del grund resultat svar kode version linje afsnit sætning ord punkt kilde titel"
    " første anden tredje sidste",
    "no": "eksempel detaljer trinn del grunn resultat svar kode versjon linje avsnitt setning ord punkt kilde tittel"
    " første andre tredje siste",
    "fi": "esimerkki esimerkin esimerkkejä vaihe osa syy tulos vastaus koodi versio rivi kappale lause sana sanaa"
    " kohta lähde otsikko ensimmäinen toinen kolmas viimeinen",
    "pl": "przykład przykłady szczegóły krok kroki część powód wynik odpowiedź kod wersja wersję linia akapit zdanie"
    " zdania słowo słowa opcja punkt źródło tytuł koniec ton styl lista pierwszy pierwsza drugi druga drugie trzeci"
    " ostatni ostatnia liczba liczby wzór obliczenia metoda sposób rozwiązanie znaczenie wyjątki zalety wady"
    " możliwości opcje wstęp wstępu błąd",
    "cs": "příklad příklady detail krok část důvod výsledek odpověď kód verze řádek odstavec věta věty slovo bod zdroj"
    " název konec tón styl seznam první druhý druhá druhou třetí poslední číslo čísla vzorec výpočet metoda způsob"
    " řešení význam výjimky výhody nevýhody možnosti úvod chyba",
    "sk": "príklad krok časť dôvod výsledok odpoveď kód verzia odsek veta slovo bod zdroj prvý druhý tretí posledný",
    "ro": "exemplu exemple detalii pas pași parte motiv rezultat răspuns cod versiune linie paragraf propoziție"
    " cuvinte punct sursă titlu primul prima doilea doua ultimul ultima",
    "hu": "példa példát példával részlet lépés rész ok eredmény válasz kód verzió sor bekezdés mondat szó pont forrás"
    " cím első második harmadik utolsó",
    "tr": "örnek örnekle detay adım bölüm sebep sonuç cevap kod sürüm satır paragraf cümle kelime madde kaynak başlık"
    " ilk birinci ikinci üçüncü son sayı sayılar formül hesap yöntem yol çözüm anlam istisna avantaj seçenek"
    " seçenekler giriş hata",
    "ru": "пример примеры примером деталь детали шаг шаги часть причина результат ответ код версия строка строку абзац"
    " предложение слово слов пункт источник название конец начало тон стиль список первый первая второй вторая второе"
    " третий последний последняя ошибка число числа формула вычисление метод способ способы решение значение"
    " исключения исключение преимущества недостатки варианты вариант введение",
    "uk": "приклад приклади деталі крок частина причина результат відповідь код версія рядок абзац речення слово слів"
    " пункт джерело назва перший друга другий третій останній останнє помилка число числа формула обчислення метод"
    " спосіб рішення значення винятки переваги недоліки варіанти варіант вступ",
    "el": "παράδειγμα παραδείγματα βήμα μέρος λόγος αποτέλεσμα απάντηση κώδικα παράγραφο πρόταση λέξεις πρώτο δεύτερο"
    " τρίτο τελευταίο",
    "ar": "مثال مثالا أمثلة تفاصيل خطوات جزء سبب السبب نتيجة الجواب الإجابة الكود سطر فقرة الفقرة جملة كلمة نقطة نقاط"
    " مصدر العنوان الأول الأولى الثاني الثانية الثالث الأخير الأخيرة رقم الأرقام معادلة حساب طريقة الطريقة حل الحل"
    " معنى استثناءات مزايا عيوب خيارات خطأ المقدمة",
    "he": "דוגמה דוגמא דוגמאות פרטים שלב חלק סיבה תוצאה תשובה קוד שורה פסקה משפט מילים נקודה מקור כותרת הראשון הראשונה"
    " השני השנייה האחרון",
    "fa": "مثال جزئیات مرحله بخش دلیل نتیجه پاسخ کد خط پاراگراف جمله کلمه منبع عنوان اول دوم سوم آخر",
    "hi": "उदाहरण विवरण चरण भाग कारण जवाब उत्तर कोड पंक्ति पैराग्राफ वाक्य शब्द शब्दों बिंदु स्रोत शीर्षक पहला पहली"
    " दूसरा दूसरी तीसरा आखिरी संख्या सूत्र गणना तरीका तरीके हल अर्थ अपवाद फायदे नुकसान विकल्प गलती",
    "id": "contoh contohnya detail langkah bagian alasan hasil jawaban kode versi baris paragraf kalimat kata poin"
    " sumber judul pertama kedua ketiga terakhir",
    "vi": "ví_dụ bước phần lý_do kết_quả câu_trả_lời mã dòng đoạn câu từ điểm nguồn đầu_tiên thứ_hai cuối",
}

FILLERS = {
    "en": "true a an the i me my we us our you i'm i'd you're do does did don't doesn't is isn't are aren't was were be"
    " been being am can can't could would will won't should shall may might must have has had not no yes yeah yep nope"
    " ok okay thanks thank please pls plz to of in on at for with without from by as into about than too very much"
    " many just only really actually maybe still yet even what what's which who whom whose when where why how if"
    " because while all any some each every few lot bit little here well oh ah um hmm hm wait sorry great good nice"
    " cool perfect hello hi hey let let's want need like get got think know mean means understand work works help say"
    " said go going up down out over under between i've it'll that'll there's who's how's where's they're we're he's"
    " she's couldn't wouldn't shouldn't wasn't weren't short long simple easy hard big small new old look looks sound"
    " sounds seem seems possible kind sort thing things way enough everything something anything nothing someone"
    " anyone ever never always once twice per etc vs able done doing write it's one their your this_year this_month"
    " this_week this_morning another_word_for there_is there_are is_there are_there what_time_is_it thx understood"
    " follow confused confusing lost clear unclear sense came come arrive derive calculate calculated knew prefer pick"
    " choose recommend believe doubt interesting awesome amazing exactly right indeed obviously agree chose mistaken"
    " meant forgot forget missed asked question",
    "de": "ein eine einen einem einer der die das dem den des verstehe ich mich mir mein meine wir uns du dich dir ihr"
    " euch man ist sind war waren sein bin bist hat habe haben kann kannst können könnte könntest würde würdest will"
    " willst soll sollte muss nicht kein keine nein ja okay danke bitte zu zum zur von vom in im an am auf für mit"
    " ohne aus bei als wie was welche welcher welches wer wen wann wo warum wieso weshalb wenn weil nur sehr viel"
    " etwas mal doch denn schon wirklich gut hallo gibt es_gibt gibt_es geht nach über unter zwischen alles kurz lang"
    " genau meinst nochmal bitteschön einfach werden wird versteh verstehen verstanden kapiere kapiert komme kommst"
    " kommt klar unklar sinn ergibt berechnet weiß weißt bevorzugst empfiehlst glaube interessant super toll perfekt"
    " prima stimmt sagst gesagt gemeint vergessen frage geht's meint da",
    "fr": "un une le la les l de d des en du au aux je j me m moi mon ma mes nous on tu t te toi vous est sont était"
    " être suis es a ai as ont avoir peux peut peux-tu pouvez pourrais voudrais veux dois faut ne n pas non oui ok"
    " merci svp s'il plaît stp s à dans sur pour avec sans par que qu quoi quel quelle quels quelles qui quand où"
    " pourquoi comment combien si parce comme c très trop peu beaucoup juste vraiment bien bon salut bonjour se sa son"
    " ses sous entre tout tous toute comprends veut dire fait donc voilà il_y_a y_a_t_il est_ce qu'est_ce compris"
    " saisi clair sens comprendre viens vient arrivé arrives trouvé trouves calculé sais préfères recommandes crois"
    " intéressant super parfait génial exact vraie dit oublié question alors",
    "es": "un una unos unas el la los las de del al a yo me mi mis nos nosotros tú te ti usted es son era ser soy está"
    " estás están estar ha he has han haber puedes puede podrías quiero quieres debo hay no sí ok gracias por favor en"
    " con sin para sobre que qué cuál cuáles quién cuándo dónde porque cómo cuánto cuánta si como muy mucho poco solo"
    " bien bueno hola se su sus le les todo toda algo entre entiendo significa entendí entendido entender comprendo"
    " claro sentido llegaste llegas sacaste calculaste sabes prefieres recomiendas crees interesante genial perfecto"
    " exacto dices olvidaste pregunta verdad cierto así",
    "it": "un uno una il lo la i gli le l di del della dei delle a al alla da dal in nel nella su con per tra fra io"
    " mi me mio mia noi ci tu ti te è sono era essere sei ha ho hai hanno avere puoi può potresti vorrei voglio devo c"
    " non no sì ok grazie favore che cosa quale quali chi quando dove perché come quanto se si molto poco solo bene"
    " ciao tutto qualcosa capisco senza significa capito capire capisci chiaro senso arrivato arrivi calcolato sai"
    " preferisci consigli credi interessante perfetto ottimo esatto detto dimenticato domanda davvero proprio",
    "pt": "um uma uns umas o a os as de do da dos das no na nos nas em ao à eu me mim meu minha nós você te é são era"
    " ser sou está estão tem tenho ter pode poderia consegue quero quer devo não sim ok obrigado obrigada por favor"
    " com sem para pra sobre que qual quais quem quando onde porque como quanto se muito pouco só bem oi olá tudo algo"
    " entre lhe for fosse seria entendi entender compreendi claro sentido chegou chega calculou sabe prefere recomenda"
    " acha acredita interessante perfeito ótimo exato disse esqueceu pergunta verdade mesmo",
    "nl": "een de het die dat ik me mij mijn we wij ons je jij u is zijn was waren ben bent heb hebt heeft hebben kan"
    " kun kunt kunnen zou wil wilt moet niet geen nee ja oké dank bedankt alsjeblieft graag te van in op aan voor met"
    " zonder uit bij als hoe wat welke wie wanneer waar waarom omdat alleen heel veel iets eens toch al echt goed"
    " hallo hoi over onder tussen alles snap bedoel begrijp begrijpen begrepen duidelijk zin kom komt weet geloof"
    " interessant perfect mooi klopt zeg zei vergeten vraag bedoelde daar nul",
    "sv": "en ett det den de jag mig min mitt vi oss du dig är var vara har hade kan kunde skulle vill ska måste inte"
    " nej ja okej tack snälla att av i på för med utan från till som hur vad vilken vilket vem när varför om bara"
    " mycket lite hej allt något förstår förstod förstå klart mening kom kommer vet tror intressant perfekt stämmer sa"
    " glömde fråga menar",
    "da": "en et det den de jeg mig min vi os du dig er var være har havde kan kunne ville vil skal må ikke nej ja"
    " okay tak venligst at af i på for med uden fra til som hvordan hvad hvilken hvem hvornår hvor hvorfor hvis kun"
    " meget lidt hej alt noget forstår forstod forstå klart mening kom kommer ved tror interessant perfekt passer"
    " sagde glemte spørgsmål mener",
    "no": "en et ei det den de jeg meg min vi oss du deg er var være har hadde kan kunne ville vil skal må ikke nei ja"
    " ok takk vær_så_snill å av i på for med uten fra til som hvordan hva hvilken hvem når hvor hvorfor hvis bare mye"
    " litt hei alt noe forstår forsto forstå klart mening kom kommer vet tror interessant perfekt stemmer sa glemte"
    " spørsmål mener",
    "fi": "minä minun me sinä voitko voisitko voi on ovat oli olla ei en kyllä joo kiitos ole hyvä mikä mitä miten"
    " miksi kuka milloin missä jos koska vain hyvin kaikki jotain moi hei kanssa ilman varten kuin että ymmärrä"
    " ymmärsin ymmärtänyt selvä järkeä tiedät luulet kiinnostavaa täydellistä unohdit kysymys tarkoitat",
    "pl": "ja mnie mi mój my nas ty cię ci jest są był być mam masz ma możesz mógłbyś może chcę musi nie tak dzięki"
    " dziękuję proszę w we na do z ze od dla o po przez bez jak co jaki jaka jakie który która kto kiedy gdzie"
    " dlaczego czemu czy jeśli bo tylko bardzo trochę dobrze cześć wszystko coś między się by rozumiem znaczy to_jest"
    " ile zrozumiałem zrozumiałam zrozumieć jasne sens skąd wiesz wolisz polecasz myślisz ciekawe świetnie super"
    " dokładnie zapomniałeś pytanie wyszło",
    "cs": "já mě mi můj my nás ty tě je jsou byl být mám máš má můžeš mohl bys chci musí ne ano jo díky děkuji prosím"
    " v ve na do z ze od pro o po přes bez jak co jaký jaká jaké který kdo kdy kde proč jestli když protože jen velmi"
    " trochu dobře ahoj všechno něco mezi se si by rozumím znamená nerozumím nechápu chápu pochopil jasné smysl odkud"
    " víš myslíš zajímavé skvěle super přesně zapomněl otázka vyšlo",
    "sk": "ja mňa mi môj my nás ty je sú bol byť mám máš môžeš chcem nie áno ďakujem prosím v na do z od pre o po bez"
    " ako čo aký ktorý kto kedy kde prečo ak keď len veľmi dobre ahoj niečo sa si by nerozumiem rozumiem nechápem"
    " chápem jasné zmysel odkiaľ vieš myslíš zaujímavé skvelé super presne zabudol otázka",
    "ro": "un o eu mă mi noi tu te este sunt era fi am ai are poți ai_putea vreau trebuie nu da ok mulțumesc te_rog la"
    " de din în pe cu fără pentru despre ca cum ce care cine când unde de_ce dacă pentru_că doar foarte bine salut tot"
    " ceva se să înțeles inteles înțeleg inteleg clar sens știi crezi interesant perfect exact uitat întrebare",
    "hu": "egy én nekem mi minket te van vannak volt lenni tudsz tudnád tudod kérlek akarom kell nem igen köszönöm"
    " kösz hogy hogyan mit milyen melyik ki mikor hol miért ha mert csak nagyon jó szia minden valami a meg el értem"
    " értettem értek érthető világos honnan gondolod érdekes szuper tökéletes pontosan kérdés jött",
    "tr": "bir ben beni bana benim biz sen sana misin mısın musun müsün mi mı mu mü var yok değil evet hayır tamam"
    " teşekkürler lütfen için ile olarak gibi kadar ne nedir hangi kim nasıl neden niye niçin nerede zaman eğer çünkü"
    " sadece merhaba her şey bunlardan eder olur verir olsun anladım anlamadım anlamıyorum anlıyorum anlaşılmadı açık"
    " mantıklı nereden biliyorsun düşünüyorsun ilginç harika mükemmel kesin unuttun soru hesapladın",
    "ru": "я меня мне мой мы нас ты тебя тебе вы вас был была было есть быть могу можешь можете можно мог бы хочу надо"
    " нужно не нет да ок спасибо пожалуйста в во на к ко с со у о об от до для из по за без при как что чем какой"
    " какая какое какие который кто когда где почему зачем ли если потому только очень немного хорошо привет всё все"
    " между же ну вот понял что_такое значит себя сколько поняла понимаю понять непонятно понятно ясно смысл откуда"
    " знаешь взял взялось считаешь думаешь интересно отлично супер точно забыл вопрос вышло имеешь виду",
    "uk": "я мене мені мій ми нас ти тебе тобі ви вас був була було є бути можу можеш можна міг би хочу треба не ні"
    " так ок дякую будь_ласка в у на до з із від для о об по за без при як що чим який яка яке котрий хто коли де чому"
    " навіщо чи якщо тому тільки дуже трохи добре привіт усе все між ж же ну ось значить скільки зрозумів зрозуміла"
    " розумію незрозуміло зрозуміло ясно сенс звідки знаєш думаєш цікаво чудово супер точно забув питання вийшло",
    "el": "ένα μια ένας το ο η οι τα τον την του της των εγώ με μου εμείς μας εσύ σε σου είναι ήταν έχω έχεις έχει"
    " μπορείς μπορεί θέλω πρέπει δεν όχι ναι ευχαριστώ παρακαλώ στο στη στην στα από για χωρίς πώς πως τι ποιο ποια"
    " ποιος πότε πού γιατί αν μόνο πολύ γεια όλα κάτι να θα καταλαβαίνω κατάλαβα σαφές νόημα ξέρεις νομίζεις"
    " ενδιαφέρον τέλεια ακριβώς ερώτηση",
    "ar": "أنا أنت نحن لي في من على إلى عن مع بدون هل ما ماذا متى أين لماذا كيف كم أي من_فضلك فضلك شكرا لا نعم كان"
    " يكون يمكنك تستطيع أريد يجب إن أن لأن فقط جدا مرحبا كل شيء بين قد يعني أفهم فهمت افهم مفهوم واضح تعرف تعتقد رائع"
    " ممتاز بالضبط نسيت سؤال لم حقا أظن",
    "he": "אני אתה את אנחנו לי של על אל עם בלי מה מתי איפה למה מדוע איך כמה איזה מי בבקשה תודה לא כן היה יכול תוכל"
    " רוצה צריך אם כי רק מאוד שלום הכל משהו בין הבנתי מבין מבינה ברור הגיוני יודע חושב מעניין מעולה בדיוק שכחת שאלה"
    " לגמרי באמת",
    "fa": "من تو ما شما به از در با برای بدون چه چی کی کجا چرا چطور چگونه کدام لطفا ممنون نه بله است هست بود می میشه"
    " می‌تونی می‌توانی اگر چون فقط خیلی سلام را رو که کن کنید بده بگو فهمیدم نفهمیدم متوجه نشدم واضح جالب عالی دقیقا"
    " سوال واقعا",
    "hi": "मैं मुझे मेरा हम आप तुम का की के को में से पर है हैं था हो क्या कौन कब कहाँ क्यों कैसे कितना कितने नहीं हाँ"
    " धन्यवाद कृपया सकते सकता अगर क्योंकि सिर्फ केवल बहुत नमस्ते सब कुछ ने एक लिए साथ समझ समझा समझी आया आई आता नही"
    " स्पष्ट मतलब पता सोचते दिलचस्प बढ़िया बिल्कुल भूल सवाल सच",
    "id": "saya aku kamu anda kita kami di ke dari dengan tanpa untuk pada yang adalah apa siapa kapan mana dimana"
    " mengapa kenapa bagaimana berapa bisa bisakah dapat tolong terima kasih tidak bukan ya ada akan sudah jika kalau"
    " karena hanya saja sangat halo semua sesuatu dalam bahasa mengerti paham ngerti jelas maksud maksudnya tahu pikir"
    " menarik bagus sempurna tepat lupa pertanyaan masuk akal",
    "vi": "tôi bạn mình chúng_ta ở trong của với không cho về là gì ai khi nào đâu tại_sao sao như_thế_nào thế_nào"
    " bao_nhiêu có_thể được hãy vui_lòng xin cảm_ơn vâng có nếu vì chỉ rất chào tất_cả bằng tiếng các những một ra đi"
    " hiểu rõ_ràng nghĩa biết nghĩ thú_vị tuyệt chính_xác quên câu_hỏi thật_không",
}

TARGETS = (
    "python java javascript typescript rust go golang c cpp csharp kotlin swift ruby php sql bash r julia haskell"
    " scala perl lua json yaml xml csv html css markdown latex table tabelle tableau tabla tabella tabela tabel"
    " tabelka таблица таблицу таблице جدول bullets bullet email mail tweet haiku poem diagram pseudocode english"
    " german french spanish italian portuguese dutch polish czech russian ukrainian turkish arabic hebrew hindi"
    " chinese japanese korean vietnamese greek swedish danish norwegian finnish hungarian romanian latin englisch"
    " deutsch französisch spanisch italienisch polnisch russisch türkisch englische anglais allemand français"
    " espagnol italien polonais inglés alemán francés español italiano ruso inglese tedesco francese spagnolo inglês"
    " alemão francês espanhol engels duits frans spaans engelska tyska franska engelsk tysk fransk englanniksi"
    " saksaksi angielski angielsku niemiecku francusku anglicky německy francouzsky английский английском немецкий"
    " немецком французском испанском русском англійською українською німецькою французькою ingilizce almanca"
    " fransızca türkçe angolul németül engleză germană αγγλικά γερμανικά γαλλικά بالإنجليزية الإنجليزية بالعربية"
    " بالفرنسية באנגלית בעברית בצרפתית अंग्रेज़ी अंग्रेजी हिंदी हिन्दी"
)
