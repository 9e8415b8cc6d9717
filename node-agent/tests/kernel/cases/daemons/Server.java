import java.io.IOException;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;

/** Answers every request with `ok`. The thread that binds and listens has a name of its own. */
public class Server {
    public static void main(String[] arguments) throws InterruptedException {
        int port = Integer.parseInt(arguments[0]);
        Thread acceptor = new Thread(() -> serve(port), "http-acceptor");
        acceptor.start();
        acceptor.join();
    }

    private static void serve(int port) {
        try (ServerSocket listener = new ServerSocket(port)) {
            while (true) {
                try (Socket socket = listener.accept()) {
                    answer(socket);
                }
            }
        } catch (IOException error) {
            throw new RuntimeException(error);
        }
    }

    private static void answer(Socket socket) throws IOException {
        byte[] buffer = new byte[4096];
        StringBuilder request = new StringBuilder();
        while (request.indexOf("\r\n\r\n") < 0) {
            int length = socket.getInputStream().read(buffer);
            if (length < 0) {
                return;
            }
            request.append(new String(buffer, 0, length, StandardCharsets.ISO_8859_1));
        }
        String answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
        socket.getOutputStream().write(answer.getBytes(StandardCharsets.ISO_8859_1));
    }
}
